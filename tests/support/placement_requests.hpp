// SPDX-License-Identifier: Apache-2.0
/// Drawn placement requests with any mixture of parts, and the check that a placement keeps them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <utility>
#include <vector>

#include "support/property.hpp"
#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/problem.hpp"

namespace support {

using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::LoadStatistic;
using switchyard::ObjectiveKind;
using switchyard::PolicyRequest;
using switchyard::RankId;
using switchyard::SlotLayout;

struct Problem {
  ExpertLoad load;
  PolicyRequest request;
};

inline std::vector<double> random_loads(int count) {
  std::vector<double> loads;
  int const kind = draw(0, 3);
  for (int i = 0; i < count; ++i) {
    double const even = draw(0, 1000);
    loads.push_back(kind == 0 ? even : kind == 1 ? std::floor(even * even / 100) : draw(0, 3));
  }
  return loads;
}

inline ExpertLoad random_load(int steps, int layers, int experts) {
  return ExpertLoad(steps, layers, experts, random_loads(steps * layers * experts));
}

/// Equal slots, no optional part.
inline Problem plain_problem() {
  int const nodes = draw(1, 4);
  int const ranks = nodes * draw(1, 4);
  int const groups = nodes * draw(1, 3);
  int const experts = groups * draw(1, 6);
  int const per_rank = (experts + ranks - 1) / ranks + draw(0, 3);
  PolicyRequest request{ranks, ranks * per_rank, nodes, groups};
  return {random_load(1, draw(1, 3), experts), request};
}

inline void add_unequal_slots(PolicyRequest& request, int experts) {
  std::vector<std::int32_t> slots;
  for (int r = 0; r < request.num_ranks; ++r) slots.push_back(draw(0, 6));
  slots[draw<std::size_t>(0, slots.size())] += experts;
  request.slot_layout = SlotLayout(slots);
  request.num_slots = request.slot_layout->num_slots();
}

inline int live_slots(PolicyRequest const& request) {
  auto const live = live_ranks(request);
  auto const layout = slot_layout_of(request);
  int sum = 0;
  for (RankId r(0); r.value() < request.num_ranks; ++r) sum += live[r.index()] ? layout.slots_of(r) : 0;
  return sum;
}

inline void add_dead_rank(PolicyRequest& request, int experts) {
  request.dead_ranks = {RankId(draw(0, request.num_ranks))};
  if (request.num_ranks == 1 || live_slots(request) < experts) request.dead_ranks.clear();
}

inline void add_objective(Problem& problem) {
  auto& request = problem.request;
  if (draw(0, 2) == 0) {
    request.window.statistic = draw(0, 2) == 0 ? LoadStatistic::mean_deviations : LoadStatistic::percentile;
    request.window.deviations = 1;
    request.window.percentile = 75;
    return;
  }
  request.objective.kind = draw(0, 2) == 0 ? ObjectiveKind::activated_experts : ObjectiveKind::time;
  request.objective.base = 30;
  request.objective.per_expert = 10;
  request.objective.per_token = 0.5;
}

/// Any mixture of optional parts.
inline Problem odd_problem() {
  Problem problem = plain_problem();
  auto& request = problem.request;
  int const experts = problem.load.num_experts();
  int const layers = problem.load.num_layers();
  problem.load = random_load(draw(1, 4), layers, experts);
  if (draw(0, 2) == 0) add_unequal_slots(request, experts);
  if (draw(0, 2) == 0) {
    for (int r = 0; r < request.num_ranks; ++r) request.rank_speeds.push_back(0.5 * draw(1, 5));
  }
  if (draw(0, 2) == 0) add_dead_rank(request, experts);
  if (draw(0, 3) == 0) {
    for (int l = 0; l < layers; ++l) request.layer_slots.push_back(draw(experts, live_slots(request) + 1));
  }
  if (draw(0, 3) == 0) request.max_nodes_per_group = draw(1, 3);
  if (draw(0, 3) == 0) request.max_nodes_per_expert = draw(1, 3);
  if (draw(0, 3) == 0) add_objective(problem);
  return problem;
}

inline std::set<int> nodes_of(ExpertPlacement const& placement, PolicyRequest const& request, int layer, int first,
                              int last) {
  std::set<int> nodes;
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    for (ExpertId const e : placement.rank_slots(layer, rank)) {
      if (e.value() >= first && e.value() < last) nodes.insert(node_of(request, rank).value());
    }
  }
  return nodes;
}

inline void check_node_limits(ExpertPlacement const& placement, PolicyRequest const& request, int layer) {
  int const experts = placement.num_experts();
  for (int e = 0; request.max_nodes_per_expert > 0 && e < experts; ++e) {
    RC_ASSERT(static_cast<int>(nodes_of(placement, request, layer, e, e + 1).size()) <= request.max_nodes_per_expert);
  }
  int const size = experts / request.num_groups;
  for (int g = 0; request.max_nodes_per_group > 0 && g < request.num_groups; ++g) {
    auto const nodes = nodes_of(placement, request, layer, g * size, (g + 1) * size);
    RC_ASSERT(static_cast<int>(nodes.size()) <= request.max_nodes_per_group);
  }
}

inline void check_limits(ExpertPlacement const& placement, PolicyRequest const& request) {
  RC_ASSERT(placement.layout() == slot_layout_of(request));
  auto const live = live_ranks(request);
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    int filled = 0;
    for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
      for (ExpertId const e : placement.rank_slots(layer, rank)) {
        RC_ASSERT(live[rank.index()] || !e.valid());
        filled += e.valid() ? 1 : 0;
      }
    }
    RC_ASSERT(filled <= slots_to_fill(request, layer));
    check_node_limits(placement, request, layer);
  }
}

/// Ten times as many with SWITCHYARD_EXHAUSTIVE=1.
inline int cases(int usual) {
  return std::getenv("SWITCHYARD_EXHAUSTIVE") != nullptr ? 10 * usual : usual;
}

inline bool is_close(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::max({1.0, std::abs(a), std::abs(b)});
}

inline ExpertLoad one_layer(std::vector<double> loads) {
  auto const experts = static_cast<int>(loads.size());
  return ExpertLoad(1, 1, experts, std::move(loads));
}

inline std::vector<int> layer_of(ExpertPlacement const& placement, int layer) {
  std::vector<int> slots;
  for (ExpertId const e : placement.layer(layer)) slots.push_back(e.value());
  return slots;
}

}  // namespace support
