// SPDX-License-Identifier: Apache-2.0
/// place_contents: which slot of a rank each of its experts gets, so that nothing moves inside a rank without need.
#pragma once

#include <span>

#include "switchyard/types/ids.hpp"

namespace switchyard::placement {

/// Experts that stay keep their slot, the others fill the rest in the order of `contents`.
/// @param current [slots] what the rank holds now. @param contents [slots] what it shall hold, in any order.
/// @param slots [slots] receives the contents; may not overlap the others.
void place_contents(std::span<ExpertId const> current, std::span<ExpertId const> contents, std::span<ExpertId> slots);

}  // namespace switchyard::placement
