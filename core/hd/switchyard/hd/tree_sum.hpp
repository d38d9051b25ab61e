// SPDX-License-Identifier: Apache-2.0
/// The fixed binary tree in which fp32 partials of one element are added: TP ranks, or blocks of a long dot product.
///
/// The shape depends on the count alone. Level by level, neighbours are added pairwise, left operand first, and an odd
/// last one passes through: 4 terms give (0+1)+(2+3), 3 give (0+1)+2, 7 give ((0+1)+(2+3))+((4+5)+6). For a power of
/// two the tree is perfect, so a rank that adds its own aligned block of leaves first leaves the result's bits alone.
#pragma once

#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"

namespace switchyard::hd {

/// Adds `count` vectors into the first one; the others hold intermediate sums afterwards. Purely per column, so a
/// kernel may call it with columns = 1 for each of its columns and get the same bits as a loop over whole rows.
/// @param terms  [count] vectors of `columns` elements, the first of each `stride` elements after the one before
/// @note count = 0 touches nothing. Results are not yet canonical: narrow<T>() makes them so when they are stored.
/// @tparam T  float, or double for gradients of fp64 weights
template <typename T>
SWITCHYARD_HD inline void tree_sum_in_place(T* terms, std::int64_t stride, std::int64_t count,
                                            std::int64_t columns) noexcept {
  for (std::int64_t step = 1; step < count; step *= 2) {
    for (std::int64_t left = 0; left + step < count; left += 2 * step) {
      T* const sum = terms + left * stride;
      T const* const right = terms + (left + step) * stride;
      for (std::int64_t c = 0; c < columns; ++c) sum[c] = add_rn(sum[c], right[c]);
    }
  }
}

}  // namespace switchyard::hd
