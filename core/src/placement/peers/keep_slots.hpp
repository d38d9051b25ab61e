// SPDX-License-Identifier: Apache-2.0
/// keep_all_slots: experts that stay on their rank stay in their slot.
#pragma once

#include <vector>

#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::placement {

/// Rearranges the new experts of every rank: slot by slot, an old expert that is still among them stays where it was;
/// the others fill the rest in their order. @param slots [layers * slots] over the layout of `current`, whose ranks
/// have equally many slots.
void keep_all_slots(ExpertPlacement const& current, std::vector<ExpertId>& slots);

}  // namespace switchyard::placement
