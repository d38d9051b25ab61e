// SPDX-License-Identifier: Apache-2.0
/// The value of one element of a CodedMatrix, as dequantize_row() of core computes it.
#pragma once

#include <cstdint>

#include "quantize_kernels.hpp"
#include "switchyard/hd/dequantize.hpp"

namespace switchyard::cuda {

__device__ inline float scale_at(CodedMatrix const& matrix, std::int64_t group) {
  float scale = 0.0f;
  switch (matrix.scale) {
    case ScaleFormat::f32: scale = hd::load_scale_f32(matrix.scales, group); break;
    case ScaleFormat::e8m0: scale = hd::widen(e8m0_t{static_cast<std::uint8_t>(matrix.scales[group])}); break;
    case ScaleFormat::e4m3: scale = hd::widen(fp8_e4m3_t{static_cast<std::uint8_t>(matrix.scales[group])}); break;
  }
  return matrix.has_tensor_scale ? hd::scale_with_tensor(scale, matrix.tensor_scale) : scale;
}

__device__ inline float code_at(CodedMatrix const& matrix, std::int64_t row, std::int64_t column, int zero_point) {
  std::byte const* const codes = matrix.codes + row * matrix.code_row_bytes;
  switch (matrix.code) {
    case CodeFormat::e4m3: return hd::E4m3Codes{}(codes, column);
    case CodeFormat::int8: return hd::Int8Codes{}(codes, column);
    case CodeFormat::uint8: return hd::Uint8Codes{zero_point}(codes, column);
    case CodeFormat::e2m1: return hd::E2m1Codes{}(codes, column);
    case CodeFormat::uint4: return hd::Uint4Codes{zero_point}(codes, column);
  }
  return 0.0f;
}

/// What the elements of one group share.
struct CodeGroup {
  float scale;
  int zero_point;
};
/// @param column_group  the column divided by the columns of a group
__device__ inline CodeGroup group_at(CodedMatrix const& matrix, std::int64_t row, std::int64_t column_group) {
  std::int64_t const group = row / matrix.group_rows * matrix.column_groups + column_group;
  return {scale_at(matrix, group), matrix.zero_points == nullptr ? 0 : static_cast<int>(matrix.zero_points[group])};
}

__device__ inline float value_at(CodedMatrix const& matrix, std::int64_t row, std::int64_t column) {
  CodeGroup const group = group_at(matrix, row, column / matrix.group_columns);
  return hd::dequantize(code_at(matrix, row, column, group.zero_point), group.scale);
}

}  // namespace switchyard::cuda
