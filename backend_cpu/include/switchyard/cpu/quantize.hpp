// SPDX-License-Identifier: Apache-2.0
/// quantize(): rows of floats to codes and scales on the CPU.
#pragma once

#include "switchyard/experts/quantization.hpp"
#include "switchyard/experts/weight_quantization.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cpu {

/// @param values [rows, columns] f32, bf16 or f16, contiguous on the host; widened exactly before anything else
/// @param out    as QuantizedMatrix::make(spec, rows, columns) leaves it; every byte of it is written
/// @throws Error{shape_mismatch} when `out` was made for another shape or layout, Error{unsupported} for another dtype
/// @note same bytes for every number of workers and instruction set; parallel over rows. A last byte that holds one
/// half-byte code has zeros in its high half.
void quantize(QuantSpec const& spec, ConstTensorView const& values, QuantizedMatrix& out);
[[nodiscard]] QuantizedMatrix quantize(QuantSpec const& spec, ConstTensorView const& values);

/// Weight-only integer codes; formulas, special values and source: WeightQuantSpec and hd/quantize_weights.hpp.
/// @param values [rows, columns] f32, bf16 or f16, contiguous on the host; groups run along the columns
/// @throws Error{invalid_argument} for a spec that cannot be, Error{shape_mismatch} or Error{unsupported} for others
/// @note same bytes for every number of workers; parallel over rows. A last byte that holds one half-byte code has
/// zeros in its high half.
[[nodiscard]] QuantizedMatrix quantize_weights(WeightQuantSpec const& spec, ConstTensorView const& values);

/// Every element of a quantised matrix as [rows, columns] floats; see QuantizedView. Parallel over rows.
/// @throws Error{shape_mismatch} unless `out` holds rows * columns floats
void dequantize(QuantizedView const& matrix, std::span<float> out);

}  // namespace switchyard::cpu
