// SPDX-License-Identifier: Apache-2.0
#include "cluster.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/bounds.hpp"

namespace switchyard::placement {

namespace {

void add_rank(Cluster& cluster, PolicyRequest const& request, SlotLayout const& layout, RankId rank) {
  cluster.first_slot.push_back(layout.first_slot(rank).index());
  cluster.node_of_rank.push_back(node_of(request, rank).index());
  auto const slots = to_size(layout.slots_of(rank));
  cluster.rank_of_slot.insert(cluster.rank_of_slot.end(), slots, rank.index());
  double const speed = cluster.speed[rank.index()];
  if (speed <= 0) {
    return;
  }
  if (slots > 0) {
    cluster.live.push_back(rank.index());
  } else {
    cluster.idle_value = std::max(cluster.idle_value, cluster.base / speed);
  }
}

}  // namespace

Cluster cluster_of(PolicyRequest const& request, int num_experts) {
  SWITCHYARD_REQUIRE(request.max_nodes_per_group == 0 || num_experts % request.num_groups == 0, invalid_argument,
                     "{} experts are not divisible by {} groups: a limit of nodes per group needs equal groups",
                     num_experts, request.num_groups);
  Cluster cluster;
  cluster.num_experts = to_size(num_experts);
  cluster.num_nodes = to_size(request.num_nodes);
  cluster.speed = serving_speeds(request);
  cluster.base = request.objective.kind == ObjectiveKind::time ? request.objective.base : 0;
  cluster.max_nodes_per_group = to_size(request.max_nodes_per_group);
  cluster.max_nodes_per_expert = to_size(request.max_nodes_per_expert);
  if (request.max_nodes_per_group > 0) {
    cluster.experts_per_group = cluster.num_experts / to_size(request.num_groups);
  }
  SlotLayout const layout = slot_layout_of(request);
  for (RankId rank(0); rank.value() < layout.num_ranks(); ++rank) {
    add_rank(cluster, request, layout, rank);
  }
  cluster.first_slot.push_back(cluster.rank_of_slot.size());
  return cluster;
}

}  // namespace switchyard::placement
