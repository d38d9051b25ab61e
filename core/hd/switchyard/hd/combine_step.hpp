// SPDX-License-Identifier: Apache-2.0
/// The combine of recipe source_slot_order: what one output element (a kernel's thread) or one output row (a CPU loop)
/// computes. Both forms go through the same step, so they give the same bits. The steps of other recipes, and types in
/// which a sum is stored other than its rows', are parameters (recipes.hpp).
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

/// The step of source_slot_order: the product is rounded to fp32, as is every sum. A step has the types of its weights
/// and of its accumulator, the weight of a slot, one addition, and the rounding of the finished sum.
struct Fp32Product {
  using Weight = float;
  using Sum = float;
  static SWITCHYARD_HD Weight weight_of(Weight const* row_weights, std::int64_t slot) noexcept {
    return row_weights[slot];
  }
  template <typename T>
  static SWITCHYARD_HD Sum add(Sum acc, Weight weight, T x) noexcept {
    return combine_term(acc, weight, x);
  }
  template <typename Out>
  static SWITCHYARD_HD Out finish(Sum acc) noexcept {
    return narrow<Out>(acc);
  }
};

/// @tparam Out         type of the stored sum, Step the arithmetic of a term
/// @param rows         [*, row_stride] rows of T
/// @param token_rows   [count] row of each slot, in slot order; negative = the slot was dropped and adds nothing
/// @param row_weights  [count] weight of each slot
template <typename T, typename Out = T, typename Step = Fp32Product>
SWITCHYARD_HD inline Out combine_element(T const* rows, std::int64_t row_stride, std::int64_t column,
                                         std::int64_t const* token_rows, typename Step::Weight const* row_weights,
                                         std::int64_t count) noexcept {
  typename Step::Sum acc = 0;
  for (std::int64_t slot = 0; slot < count; ++slot) {
    if (token_rows[slot] < 0) continue;
    acc = Step::add(acc, Step::weight_of(row_weights, slot), rows[token_rows[slot] * row_stride + column]);
  }
  return Step::template finish<Out>(acc);
}

/// Columns that combine_row sums at a time: its accumulators stay in the first-level cache.
inline constexpr std::int64_t kCombineTile = 512;

namespace detail {

/// Columns [begin, begin + columns) of one output row; columns <= kCombineTile. Rows outside, columns inside: every
/// column still sees its terms in slot order, and the inner loop vectorises.
template <typename T, typename Out, typename Step>
inline void combine_tile(T const* rows, std::int64_t row_stride, std::int64_t begin, std::int64_t columns,
                         std::int64_t const* token_rows, typename Step::Weight const* row_weights, std::int64_t count,
                         Out* output) noexcept {
  typename Step::Sum acc[kCombineTile];
  for (std::int64_t c = 0; c < columns; ++c) acc[c] = 0;
  for (std::int64_t slot = 0; slot < count; ++slot) {
    if (token_rows[slot] < 0) continue;
    T const* const row = rows + token_rows[slot] * row_stride + begin;
    typename Step::Weight const weight = Step::weight_of(row_weights, slot);
    for (std::int64_t c = 0; c < columns; ++c) acc[c] = Step::add(acc[c], weight, row[c]);
  }
  for (std::int64_t c = 0; c < columns; ++c) output[begin + c] = Step::template finish<Out>(acc[c]);
}

}  // namespace detail

/// The host form: `output[c] = combine_element(..., c, ...)` for c in [0, columns). `output` may not overlap `rows`.
template <typename T, typename Out = T, typename Step = Fp32Product>
inline void combine_row(T const* rows, std::int64_t row_stride, std::int64_t columns, std::int64_t const* token_rows,
                        typename Step::Weight const* row_weights, std::int64_t count, Out* output) noexcept {
  for (std::int64_t begin = 0; begin < columns; begin += kCombineTile) {
    std::int64_t const left = columns - begin;
    detail::combine_tile<T, Out, Step>(rows, row_stride, begin, left < kCombineTile ? left : kCombineTile, token_rows,
                                       row_weights, count, output);
  }
}

}  // namespace switchyard::hd
