// SPDX-License-Identifier: Apache-2.0
/// The combine of recipe source_slot_order: what one output element (a kernel's thread) or one output row (a CPU loop)
/// computes. Both forms go through combine_term, so they give the same bits.
///
/// For a token with `count` slots: the fp32 accumulator starts at +0; for each slot, ascending, whose row is not
/// negative, acc = acc + (weight * x), two roundings, x widened exactly; the result is rounded to the row type once and
/// a NaN becomes its canonical NaN. A token without rows gives +0. Source: DESIGN 2.4 and 2.5.
#pragma once

#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"
#include "switchyard/hd/convert.hpp"

namespace switchyard::hd {

/// One term of the sum: multiply, then add.
template <typename T>
SWITCHYARD_HD inline float combine_term(float acc, float weight, T x) noexcept {
  return mul_then_add(weight, widen(x), acc);
}

/// @param rows         [*, row_stride] rows of T
/// @param token_rows   [count] row of each slot, in slot order; negative = the slot was dropped and adds nothing
/// @param row_weights  [count] weight of each slot
template <typename T>
SWITCHYARD_HD inline T combine_element(T const* rows, std::int64_t row_stride, std::int64_t column,
                                       std::int64_t const* token_rows, float const* row_weights,
                                       std::int64_t count) noexcept {
  float acc = 0.0f;
  for (std::int64_t slot = 0; slot < count; ++slot)
    if (token_rows[slot] >= 0) acc = combine_term(acc, row_weights[slot], rows[token_rows[slot] * row_stride + column]);
  return narrow<T>(acc);
}

/// Columns that combine_row sums at a time: its accumulators stay in the first-level cache.
inline constexpr std::int64_t kCombineTile = 512;

namespace detail {

/// Columns [begin, begin + columns) of one output row; columns <= kCombineTile. Rows outside, columns inside: every
/// column still sees its terms in slot order, and the inner loop vectorises.
template <typename T>
inline void combine_tile(T const* rows, std::int64_t row_stride, std::int64_t begin, std::int64_t columns,
                         std::int64_t const* token_rows, float const* row_weights, std::int64_t count,
                         T* output) noexcept {
  float acc[kCombineTile];
  for (std::int64_t c = 0; c < columns; ++c) acc[c] = 0.0f;
  for (std::int64_t slot = 0; slot < count; ++slot) {
    if (token_rows[slot] < 0) continue;
    T const* const row = rows + token_rows[slot] * row_stride + begin;
    float const weight = row_weights[slot];
    for (std::int64_t c = 0; c < columns; ++c) acc[c] = combine_term(acc[c], weight, row[c]);
  }
  for (std::int64_t c = 0; c < columns; ++c) output[begin + c] = narrow<T>(acc[c]);
}

}  // namespace detail

/// The host form: `output[c] = combine_element(..., c, ...)` for c in [0, columns). `output` may not overlap `rows`.
template <typename T>
inline void combine_row(T const* rows, std::int64_t row_stride, std::int64_t columns, std::int64_t const* token_rows,
                        float const* row_weights, std::int64_t count, T* output) noexcept {
  for (std::int64_t begin = 0; begin < columns; begin += kCombineTile) {
    std::int64_t const left = columns - begin;
    detail::combine_tile(rows, row_stride, begin, left < kCombineTile ? left : kCombineTile, token_rows, row_weights,
                         count, output);
  }
}

}  // namespace switchyard::hd
