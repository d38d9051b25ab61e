// SPDX-License-Identifier: Apache-2.0
/// The recipe `exact`: the exact sum of weight * expert row, rounded once. Source: DESIGN 2.4.
///
/// Two ways to compute it, equal in every bit for any split of a token's rows over ranks:
/// - exact_element / exact_row: all rows are at the source rank, in any order;
/// - exact_partial_element at each experts' rank, the states on the wire, exact_join_element at the source.
/// A zero sum (no rows, weights of 0, full cancellation) is +0; a sum that is not zero but rounds to zero keeps its
/// sign; overflow gives infinity; NaN, 0 * inf and inf - inf give the canonical NaN. fp64 weights are exact terms.
/// The shared expert's value is either a term of weight 1 (pass it) or added afterwards by add_shared_expert.
#pragma once

#include <cstdint>

#include "switchyard/hd/exact_sum.hpp"
#include "switchyard/hd/exact_sum_fast.hpp"

namespace switchyard::hd {

/// Adds one column of a token's rows. Negative rows were dropped and add nothing.
template <typename Weight, typename T>
SWITCHYARD_HD inline void add_rows(ExactSum<Weight, T>& sum, T const* rows, std::int64_t row_stride,
                                   std::int64_t column, std::int64_t const* token_rows, Weight const* row_weights,
                                   std::int64_t count) noexcept {
  for (std::int64_t slot = 0; slot < count; ++slot)
    if (token_rows[slot] >= 0) sum.add_product(row_weights[slot], rows[token_rows[slot] * row_stride + column]);
}

/// One element by the wide accumulator alone; what the faster forms fall back to and are tested against.
/// @param shared  the shared expert's value of this column as a term, or null
template <typename Out, typename Weight, typename T>
SWITCHYARD_HD inline Out exact_element_wide(T const* rows, std::int64_t row_stride, std::int64_t column,
                                            std::int64_t const* token_rows, Weight const* row_weights,
                                            std::int64_t count, T const* shared) noexcept {
  ExactSum<Weight, T> sum;
  add_rows(sum, rows, row_stride, column, token_rows, row_weights, count);
  if (shared != nullptr) sum.add(*shared);
  return sum.template round<Out>();
}

/// One element: fp64 when it provably rounds alike, else the wide accumulator.
template <typename Out, typename Weight, typename T>
SWITCHYARD_HD inline Out exact_element(T const* rows, std::int64_t row_stride, std::int64_t column,
                                       std::int64_t const* token_rows, Weight const* row_weights, std::int64_t count,
                                       T const* shared = nullptr) noexcept {
  double sum = 0.0;
  double magnitude = 0.0;
  for (std::int64_t slot = 0; slot < count; ++slot) {
    if (token_rows[slot] < 0) continue;
    double const term = product_in_double(row_weights[slot], rows[token_rows[slot] * row_stride + column]);
    sum = add_rn(sum, term);
    magnitude = add_rn(magnitude, magnitude_of(term));
  }
  if (shared != nullptr) {
    double const term = product_in_double(Weight{1}, *shared);
    sum = add_rn(sum, term);
    magnitude = add_rn(magnitude, magnitude_of(term));
  }
  if (rounds_like_exact<Out, Weight>(sum, magnitude, count + 1)) return narrow<Out>(static_cast<float>(sum));
  return exact_element_wide<Out>(rows, row_stride, column, token_rows, row_weights, count, shared);
}

/// At the experts' rank: one element of the rank's part of the sum, as it travels.
template <typename Weight, typename T>
SWITCHYARD_HD inline ExactSumState<Weight, T> exact_partial_element(T const* rows, std::int64_t row_stride,
                                                                    std::int64_t column, std::int64_t const* token_rows,
                                                                    Weight const* row_weights,
                                                                    std::int64_t count) noexcept {
  ExactSum<Weight, T> sum;
  add_rows(sum, rows, row_stride, column, token_rows, row_weights, count);
  return sum.state();
}

/// At the source rank: the states of a token's ranks, in any order, rounded once.
/// @param states       [*, row_stride] states
/// @param token_states [count] row of each rank's state; negative = that rank has none of the token's experts
template <typename Out, typename Weight, typename T>
SWITCHYARD_HD inline Out exact_join_element(ExactSumState<Weight, T> const* states, std::int64_t row_stride,
                                            std::int64_t column, std::int64_t const* token_states, std::int64_t count,
                                            T const* shared = nullptr) noexcept {
  ExactSum<Weight, T> sum;
  for (std::int64_t rank = 0; rank < count; ++rank)
    if (token_states[rank] >= 0) sum.merge(states[token_states[rank] * row_stride + column]);
  if (shared != nullptr) sum.add(*shared);
  return sum.template round<Out>();
}

/// Columns that exact_row sums at a time: 4 KiB of accumulators.
inline constexpr std::int64_t kExactTile = 256;

namespace detail {

/// The fp64 sums of columns [begin, begin + columns), rows outside and columns inside so that the loop vectorises.
struct ExactTile {
  double sum[kExactTile];
  double magnitude[kExactTile];

  void clear(std::int64_t columns) noexcept {
    for (std::int64_t c = 0; c < columns; ++c) sum[c] = 0.0;
    for (std::int64_t c = 0; c < columns; ++c) magnitude[c] = 0.0;
  }
  template <typename Weight, typename T>
  void add(Weight weight, T const* row, std::int64_t columns) noexcept {
    float values[kExactTile];  // a loop of its own: g++ 12 vectorises the two apart, not together
    for (std::int64_t c = 0; c < columns; ++c) values[c] = widen(row[c]);
    for (std::int64_t c = 0; c < columns; ++c) {
      double const term = product_in_double(weight, values[c]);
      sum[c] = add_rn(sum[c], term);
      magnitude[c] = add_rn(magnitude[c], magnitude_of(term));
    }
  }
  template <typename Weight, typename T>
  void add_rows(T const* columns_of_rows, std::int64_t row_stride, std::int64_t const* token_rows,
                Weight const* row_weights, std::int64_t count, std::int64_t columns) noexcept {
    for (std::int64_t slot = 0; slot < count; ++slot)
      if (token_rows[slot] >= 0) add(row_weights[slot], columns_of_rows + token_rows[slot] * row_stride, columns);
  }
};

}  // namespace detail

/// The host form: `output[c] = exact_element(..., c, ..., shared + c)` for c in [0, columns).
/// @param shared  [columns] the shared expert's row as a term, or null
template <typename Out, typename Weight, typename T>
inline void exact_row(T const* rows, std::int64_t row_stride, std::int64_t columns, std::int64_t const* token_rows,
                      Weight const* row_weights, std::int64_t count, Out* output, T const* shared = nullptr) noexcept {
  detail::ExactTile tile;
  for (std::int64_t begin = 0; begin < columns; begin += kExactTile) {
    std::int64_t const width = columns - begin < kExactTile ? columns - begin : kExactTile;
    tile.clear(width);
    tile.add_rows(rows + begin, row_stride, token_rows, row_weights, count, width);
    if (shared != nullptr) tile.add(Weight{1}, shared + begin, width);
    for (std::int64_t c = 0; c < width; ++c) output[begin + c] = narrow<Out>(static_cast<float>(tile.sum[c]));
    for (std::int64_t c = 0; c < width; ++c) {
      if (rounds_like_exact<Out, Weight>(tile.sum[c], tile.magnitude[c], count + 1)) continue;
      output[begin + c] = exact_element_wide<Out>(rows, row_stride, begin + c, token_rows, row_weights, count,
                                                  shared == nullptr ? nullptr : shared + begin + c);
    }
  }
}

}  // namespace switchyard::hd
