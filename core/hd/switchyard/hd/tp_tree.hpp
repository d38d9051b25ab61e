// SPDX-License-Identifier: Apache-2.0
/// The fixed binary tree over which the partial results of tensor-parallel ranks are added.
///
/// Neighbours at distance 1, 2, 4, ... are added, left operand first: for 2^n ranks the perfect tree, so that a rank
/// that owns a subtree may hand in its sum (DESIGN 2.5); otherwise the last rank of an odd level moves up unchanged,
/// e.g. three ranks give (0 + 1) + 2, five (((0 + 1) + (2 + 3)) + 4).
#pragma once

#include "switchyard/types/host_device.hpp"

namespace switchyard::hd {

/// Calls add_into(i, j), "partial i becomes partial i plus partial j", in the tree's order; the sum ends in partial 0.
template <typename AddInto>
SWITCHYARD_HD inline void tp_tree(int num_ranks, AddInto&& add_into) {
  for (int distance = 1; distance < num_ranks; distance *= 2)
    for (int i = 0; i + distance < num_ranks; i += 2 * distance) add_into(i, i + distance);
}

}  // namespace switchyard::hd
