// SPDX-License-Identifier: Apache-2.0
#include "layer_plan.hpp"

#include <algorithm>
#include <numeric>

#include "../bounds/even_split.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/placement/objective.hpp"

namespace switchyard::placement {

ExpertLoad planning_load(ExpertLoad const& load, PolicyRequest const& request) {
  if (request.objective.kind == ObjectiveKind::tokens) {
    return reduce_window(load, request.window);
  }
  SWITCHYARD_REQUIRE(request.window.statistic == LoadStatistic::sum, invalid_argument,
                     "objective {} is evaluated in every step, window statistic {} leaves one: use sum",
                     to_string(request.objective.kind), to_string(request.window.statistic));
  return load;
}

std::vector<std::size_t> slots_of_layer(ExpertPlacement const& placement, int layer, Cluster const& cluster) {
  std::vector<std::size_t> slots;
  for (ExpertId const expert : placement.layer(layer)) {
    SWITCHYARD_REQUIRE(expert.value() >= kNoExpert.value() && expert.value() < placement.num_experts(),
                       invalid_placement, "slot {} of layer {} holds expert {}, the model has {}: correct the map",
                       slots.size(), layer, expert.value(), placement.num_experts());
    bool const serves = cluster.speed[cluster.rank_of_slot[slots.size()]] > 0;
    slots.push_back(expert.valid() && serves ? expert.index() : kNone);
  }
  return slots;
}

void append_layer(std::vector<std::size_t> const& slots, std::vector<ExpertId>& slot_to_expert) {
  for (std::size_t const expert : slots) {
    slot_to_expert.push_back(expert == kNone ? kNoExpert : ExpertId(static_cast<std::int32_t>(expert)));
  }
}

double search_bound(Cluster const& cluster, PlacementObjective const& objective, ExpertLoad const& load, int layer,
                    std::size_t slots_to_fill) {
  if (objective.kind != ObjectiveKind::tokens) {
    return 0;
  }
  auto const loads = load.at(0, layer);
  double speed = 0;
  double fastest = 0;
  for (std::size_t const rank : cluster.live) {
    speed += cluster.speed[rank];
    fastest = std::max(fastest, cluster.speed[rank]);
  }
  SlotSupply const supply{static_cast<std::int64_t>(slots_to_fill), static_cast<std::int64_t>(cluster.max_replicas()),
                          0};
  return std::max(std::accumulate(loads.begin(), loads.end(), 0.0) / speed,
                  min_max_replica_load(loads, supply) / fastest);
}

}  // namespace switchyard::placement
