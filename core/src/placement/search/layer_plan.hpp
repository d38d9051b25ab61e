// SPDX-License-Identifier: Apache-2.0
/// Helpers between ExpertPlacement and LayerState, shared by the searching policies.
#pragma once

#include <cstddef>
#include <vector>

#include "layer_state.hpp"
#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard::placement {

/// The load the objective is evaluated on: reduced by the window for tokens, as recorded for the others.
/// @throws Error{invalid_argument} for a window with another objective, as measure_objective().
[[nodiscard]] ExpertLoad planning_load(ExpertLoad const& load, PolicyRequest const& request);

/// A layer's slots; slots of dead ranks are emptied. @throws Error{invalid_placement} for an id outside [-1, experts).
[[nodiscard]] std::vector<std::size_t> slots_of_layer(ExpertPlacement const& placement, int layer,
                                                      Cluster const& cluster);

/// Appends a layer's slots to a row-major list for ExpertPlacement.
void append_layer(std::vector<std::size_t> const& slots, std::vector<ExpertId>& slot_to_expert);

/// No state of the layer has a largest value below this: the mean, and for tokens the min-max replica load on the
/// fastest rank. 0 for objectives without a known bound.
[[nodiscard]] double search_bound(Cluster const& cluster, PlacementObjective const& objective, ExpertLoad const& load,
                                  int layer, std::size_t slots_to_fill);

}  // namespace switchyard::placement
