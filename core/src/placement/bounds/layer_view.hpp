// SPDX-License-Identifier: Apache-2.0
/// LayerView: one layer of a placement as the bounds see it: which serving ranks hold which expert.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::placement {

/// Checks `speeds` ([ranks], finite, not negative, at least one above 0; empty = all 1) and completes it.
[[nodiscard]] std::vector<double> checked_speeds(std::span<double const> speeds, int num_ranks);

/// Checks that two placements describe the same layers, experts and ranks.
void require_same_model(ExpertPlacement const& a, ExpertPlacement const& b);

/// The ranks of positive speed that hold every expert, ascending, each once. [experts]
/// @throws Error{invalid_placement} for an id outside [-1, num_experts).
[[nodiscard]] std::vector<std::vector<std::size_t>> holders(ExpertPlacement const& placement, int layer,
                                                            std::span<double const> speeds);

}  // namespace switchyard::placement
