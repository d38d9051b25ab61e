// SPDX-License-Identifier: Apache-2.0
/// make_servable: the changes found that make the placement in use one that the request admits.
#pragma once

#include <cstddef>

#include "layer_state.hpp"

namespace switchyard::placement {

/// In this order: slots that break a node limit are given up, a group or expert keeping the nodes where it has most
/// slots (the lower node on a tie); every expert without a slot gets one, heaviest first, where its rank stays coolest,
/// if need be by sending another expert elsewhere; slots beyond the budget are emptied, the lightest spare replica
/// first. Where experts still have no slot because nodes are full, the layer is placed anew (greedy_start()).
/// A placement that keeps every limit is left as it is. Duplicates on a rank are kept.
/// @throws Error as domains_of().
void make_servable(LayerState& state, SlotFigures& figures, std::size_t slots_to_fill);

}  // namespace switchyard::placement
