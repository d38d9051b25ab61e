// SPDX-License-Identifier: Apache-2.0
/// descend: local search that cools the hottest rank step by step.
#pragma once

#include <cstddef>

#include "layer_state.hpp"

namespace switchyard::placement {

struct DescentOptions {
  double target = 0;              ///< stop when no rank is above it
  int max_steps = 2000;           ///< changes of the state
  int max_cycle_scans = 24;       ///< looks for 3-cycles, each of which costs as much as a dozen steps
  std::size_t slots_to_fill = 0;  ///< never more slots filled than this
  bool may_empty = false;         ///< a slot may be emptied when that cools the hottest rank
};

/// Changes `state` while some change takes the hottest rank and every rank it touches below the present maximum: an
/// exchange of two slots, a slot given to another expert (a replica moves from one expert to another), and, where none
/// of these helps, a 3-cycle through two of the coldest ranks. Each step takes the change whose warmest touched rank is
/// coldest; the first such in the order of ranks and slots.
/// @return the number of changes. The largest value never rises. @note deterministic; no clock.
int descend(LayerState& state, DescentOptions const& options);

}  // namespace switchyard::placement
