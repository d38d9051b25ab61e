// SPDX-License-Identifier: Apache-2.0
/// Int8Product: a product of two int8 matrices: int32 sums per group of scales, one fused operation per group.
#pragma once

#include <cstdint>
#include <span>

#include "switchyard/experts/quantized_view.hpp"

namespace switchyard::cpu {

/// out[r][n] for the rows of `rows` named by `row_list` and all rows n of `weights`.
struct Int8Product {
  QuantizedView const& rows;  ///< int8, f32 scales
  std::span<std::int64_t const> row_list;
  QuantizedView const& weights;              ///< int8, f32 scales; as many columns as `rows`
  std::span<std::int64_t const> block_ends;  ///< blocks of columns joined by the fixed tree; at most 8
  float* out;                                ///< [row_list.size(), weights.rows]
};

/// Whether a matrix can be an operand.
[[nodiscard]] bool is_int8(QuantizedView const& matrix) noexcept;
/// Parallel over rows of weights. @throws Error{unsupported} for 2^17 columns or more, where an int32 sum could
/// overflow
void multiply_int8(Int8Product const& product);

}  // namespace switchyard::cpu
