// SPDX-License-Identifier: Apache-2.0
/// What the quantisers' kernels are given: QuantizeJob for rows of values, CodedMatrix for codes to be read.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/quantized_view.hpp"
#include "switchyard/hd/quantize.hpp"
#include "switchyard/types/quant_scheme.hpp"

namespace switchyard::cuda {

struct QuantizeJob {
  QuantScheme scheme{};
  DType dtype{};
  void const* values = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t group = 0;  ///< columns that share a scale
  std::uint8_t* codes = nullptr;
  std::uint8_t* scales = nullptr;
  std::int64_t code_stride = 0;
  std::int64_t scale_stride = 0;
  bool packed = true;  ///< rows of codes and of scales follow each other without gaps
  hd::QuantParameters parameters{};
  float inverse_tensor_scale = 1.0f;   ///< 1 / parameters.tensor_scale, rounded
  float const* given_scale = nullptr;  ///< device memory; replaces parameters.given_scale
};

/// Asynchronous; rows and columns are positive. @throws Error{unsupported} for other dtypes, Error{cuda}
void launch_quantize_groups(QuantizeJob const& job, StreamView stream);
void launch_quantize_whole_rows(QuantizeJob const& job, StreamView stream);
/// One scale for all values; it is stored unless it came from the device.
void launch_quantize_scaled(QuantizeJob const& job, StreamView stream);
/// The dynamic scale of all values into job.scales, which holds zero bits before.
void launch_tensor_scale(QuantizeJob const& job, StreamView stream);

/// A QuantizedView as a kernel reads it. Extents of groups are positive.
struct CodedMatrix {
  std::byte const* codes = nullptr;
  std::byte const* scales = nullptr;
  std::byte const* zero_points = nullptr;  ///< null: none
  float tensor_scale = 1.0f;
  bool has_tensor_scale = false;
  CodeFormat code{};
  ScaleFormat scale{};
  std::int64_t columns = 0;
  std::int64_t group_rows = 1;
  std::int64_t group_columns = 1;
  std::int64_t column_groups = 0;
  std::int64_t code_row_bytes = 0;
};
/// @param matrix spans of device memory
[[nodiscard]] CodedMatrix coded_matrix(QuantizedView const& matrix);
void launch_dequantize_kernel(CodedMatrix const& matrix, std::int64_t rows, float* out, StreamView stream);

}  // namespace switchyard::cuda
