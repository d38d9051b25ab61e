// SPDX-License-Identifier: Apache-2.0
#include "policy_request.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"

namespace switchyard::placement {

namespace {

/// The smallest multiple of `step` that is at least `value`.
std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

}  // namespace

void require_basic_request(PolicyRequest const& request, int num_experts) {
  SWITCHYARD_REQUIRE(
      request.num_ranks >= 1 && request.num_slots >= 1 && request.num_nodes >= 1 && request.num_groups >= 1,
      invalid_argument, "{} ranks, {} slots, {} nodes, {} groups: each number must be at least 1", request.num_ranks,
      request.num_slots, request.num_nodes, request.num_groups);
  SWITCHYARD_REQUIRE(request.num_slots >= num_experts, invalid_argument,
                     "{} slots cannot hold {} experts: use at least {} slots", request.num_slots, num_experts,
                     round_up(num_experts, request.num_ranks));
}

void require_even_slots(PolicyRequest const& request, int num_experts) {
  SWITCHYARD_REQUIRE(request.num_slots % request.num_ranks == 0, invalid_argument,
                     "{} slots are not divisible by {} ranks: use {} slots or another number of ranks",
                     request.num_slots, request.num_ranks,
                     round_up(std::max(request.num_slots, num_experts), request.num_ranks));
}

void require_hierarchy(PolicyRequest const& request, int num_experts) {
  SWITCHYARD_REQUIRE(num_experts % request.num_groups == 0, invalid_argument,
                     "{} experts are not divisible by {} groups: use the model's number of expert groups, or 1",
                     num_experts, request.num_groups);
  SWITCHYARD_REQUIRE(request.num_groups % request.num_nodes == 0, invalid_argument,
                     "{} groups are not divisible by {} nodes: use a number of nodes that divides the groups, or the "
                     "policy deepseek-global",
                     request.num_groups, request.num_nodes);
  SWITCHYARD_REQUIRE(request.num_ranks % request.num_nodes == 0, invalid_argument,
                     "{} ranks are not divisible by {} nodes: every node must have the same number of ranks",
                     request.num_ranks, request.num_nodes);
}

void require_known_experts(ExpertPlacement const& placement) {
  for (auto const& violation : validate(placement)) {
    SWITCHYARD_REQUIRE(violation.rule != PlacementRule::id_out_of_range, invalid_placement, "{}", violation.text);
  }
}

}  // namespace switchyard::placement
