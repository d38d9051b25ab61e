// SPDX-License-Identifier: Apache-2.0
/// The rules of a PolicyRequest, one line each, shared by the policies.
#pragma once

#include "switchyard/placement/policy.hpp"

namespace switchyard::placement {

/// Positive sizes and room for every expert: what every policy needs.
void require_basic_request(PolicyRequest const& request, int num_experts);

/// Slots divide evenly over ranks.
void require_even_slots(PolicyRequest const& request, int num_experts);

/// Experts divide into groups, groups over nodes, ranks over nodes.
void require_hierarchy(PolicyRequest const& request, int num_experts);

/// No slot names an expert outside [-1, num_experts). @throws Error{invalid_placement} naming the slot.
void require_known_experts(ExpertPlacement const& placement);

}  // namespace switchyard::placement
