// SPDX-License-Identifier: Apache-2.0
/// request_violations: whether a placement keeps what a request demands.
#include <algorithm>
#include <set>

#include "policy_request.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard {

namespace {

using Violations = std::vector<RequestViolation>;

void check_dead_ranks(ExpertPlacement const& placement, PolicyRequest const& request, Violations& found) {
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    for (RankId const rank : request.dead_ranks) {
      auto const slots = placement.rank_slots(layer, rank);
      auto const filled = std::find_if(slots.begin(), slots.end(), [](ExpertId expert) { return expert.valid(); });
      if (filled == slots.end()) continue;
      found.push_back({RequestPart::dead_ranks, layer,
                       fmt::format("dead rank {} holds expert {} of layer {}", rank.value(), filled->value(), layer)});
    }
  }
}

void check_budgets(ExpertPlacement const& placement, PolicyRequest const& request, Violations& found) {
  for (int layer = 0; !request.layer_slots.empty() && layer < placement.num_layers(); ++layer) {
    auto const slots = placement.layer(layer);
    auto const filled = std::count_if(slots.begin(), slots.end(), [](ExpertId expert) { return expert.valid(); });
    int const budget = slots_to_fill(request, layer);
    if (filled <= budget) continue;
    found.push_back({RequestPart::layer_slots, layer,
                     fmt::format("layer {} fills {} slots, its budget is {}", layer, filled, budget)});
  }
}

/// Experts in equal blocks, a limit on the nodes that each block touches.
struct NodeLimit {
  RequestPart part;
  int max_nodes;
  int experts_per_block;
};

void check_nodes(ExpertPlacement const& placement, PolicyRequest const& request, NodeLimit const& limit, int layer,
                 Violations& found) {
  std::vector<std::set<NodeId>> nodes(to_size(placement.num_experts() / limit.experts_per_block));
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    for (ExpertId const expert : placement.rank_slots(layer, rank)) {
      if (expert.valid()) nodes[to_size(expert.value() / limit.experts_per_block)].insert(node_of(request, rank));
    }
  }
  for (std::size_t block = 0; block < nodes.size(); ++block) {
    if (nodes[block].size() <= to_size(limit.max_nodes)) continue;
    found.push_back(
        {limit.part, layer,
         fmt::format("experts {} to {} of layer {} stand on {} nodes, at most {} are allowed",
                     block * to_size(limit.experts_per_block), (block + 1) * to_size(limit.experts_per_block) - 1,
                     layer, nodes[block].size(), limit.max_nodes)});
  }
}

void check_node_limits(ExpertPlacement const& placement, PolicyRequest const& request, Violations& found) {
  int const experts = placement.num_experts();
  SWITCHYARD_REQUIRE(request.max_nodes_per_group == 0 || experts % request.num_groups == 0, invalid_argument,
                     "{} experts are not divisible by {} groups: a limit per group needs equal groups", experts,
                     request.num_groups);
  for (NodeLimit const& limit :
       {NodeLimit{RequestPart::max_nodes_per_group, request.max_nodes_per_group, experts / request.num_groups},
        NodeLimit{RequestPart::max_nodes_per_expert, request.max_nodes_per_expert, 1}}) {
    for (int layer = 0; limit.max_nodes > 0 && layer < placement.num_layers(); ++layer) {
      check_nodes(placement, request, limit, layer, found);
    }
  }
}

}  // namespace

std::vector<RequestViolation> request_violations(ExpertPlacement const& placement, PolicyRequest const& request) {
  validate(request, placement.num_layers(), placement.num_experts());
  placement::require_known_experts(placement);
  if (placement.layout() != slot_layout_of(request)) {
    return {{RequestPart::slot_layout, 0,
             fmt::format("the placement has {} slots on {} ranks in another layout than the {} on {} asked for",
                         placement.num_slots(), placement.num_ranks(), request.num_slots, request.num_ranks)}};
  }
  Violations found;
  check_dead_ranks(placement, request, found);
  check_budgets(placement, request, found);
  check_node_limits(placement, request, found);
  return found;
}

}  // namespace switchyard
