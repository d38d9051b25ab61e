// SPDX-License-Identifier: Apache-2.0
/// Cases of the device planner: a configuration, the routing of every rank from a seed, and core's plans of it.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"

namespace cross_backend {

using namespace switchyard;  // NOLINT: test cases read like the library
using cuda::DevicePlannerConfig;

constexpr std::uint64_t kSeed = 20261122;

struct PlannerCase {
  std::string name;
  DevicePlannerConfig config;
  int experts = 8;
  int replicas = 0;  ///< slots more than experts
  int layer = 0;
  std::vector<std::int64_t> tokens;  ///< of every rank
  double dropped = 0.1;              ///< share of -1 ids
  bool one_expert = false;           ///< everything to expert 0
  std::uint64_t seed = kSeed;
};

inline ExpertPlacement placement_of(PlannerCase const& run) {
  int const slots = run.experts + run.replicas;
  return run.replicas == 0
             ? ExpertPlacement::contiguous(run.layer + 1, run.experts, run.config.grid.ep)
             : ExpertPlacement::trivial(run.layer + 1, run.experts, SlotLayout::balanced(run.config.grid.ep, slots));
}

/// Different experts per token unless there are too few of them; weights that tie now and then.
inline RoutingMap draw_routing(PlannerCase const& run, int rank) {
  std::mt19937_64 random(run.seed + static_cast<std::uint64_t>(rank));
  std::int64_t const tokens = run.tokens[static_cast<std::size_t>(rank)];
  bool const is_dense = run.config.form == RoutingForm::dense;
  int const columns = run.config.columns;
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> map;
  std::vector<float> weights;
  for (std::int64_t token = 0; token < tokens; ++token) {
    auto const first = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(run.experts));
    auto const step = 1 + static_cast<std::int32_t>(random() % 3);
    for (int k = 0; k < columns; ++k) {
      bool const drops = static_cast<double>(random() % 1000) < run.dropped * 1000;
      ids.push_back(drops ? -1 : run.one_expert ? 0 : (first + k * step) % run.experts);
      map.push_back(random() % 5 == 0 ? 1 : 0);
      weights.push_back(static_cast<float>(random() % 16) / 8.0F - 0.5F);
    }
  }
  return is_dense ? RoutingMap::from_dense(tokens, run.experts, std::move(map), std::move(weights))
                  : RoutingMap::from_topk(tokens, run.experts, columns, std::move(ids), std::move(weights));
}

template <typename Config>
Config config_as(DevicePlannerConfig const& config) {
  Config other;
  other.grid = config.grid;
  other.row_order = config.row_order;
  other.replica_rule = config.replica_rule;
  return other;
}

/// core's plans of all ranks, after drop and pad.
inline std::vector<DispatchPlan> core_plans(PlannerCase const& run, std::vector<RoutingMap> routings,
                                            ExpertPlacement const& placement) {
  DevicePlannerConfig const& config = run.config;
  std::vector<CapacityLimit> limits;
  for (auto& routing : routings) {
    if (!config.capacity) break;
    auto kept =
        apply_capacity(routing, *config.capacity, config.capacity_top_k > 0 ? config.capacity_top_k : config.columns);
    limits.push_back({kept.capacity, config.capacity->pad_to_capacity});
    routing = std::move(kept.routing);
  }
  if (config.family == DispatchFamily::megatron_allgather)
    return plan_allgather_group(config_as<AllGatherConfig>(config), routings, placement, run.layer, limits);
  if (config.family == DispatchFamily::megatron_flex) {
    auto flex = config_as<FlexConfig>(config);
    flex.selection = config.selection;
    return plan_flex_group(flex, routings, placement, run.layer, limits);
  }
  auto alltoall = config_as<AllToAllConfig>(config);
  alltoall.restore = config.restore;
  return plan_alltoall_group(alltoall, routings, placement, run.layer, limits);
}

inline PlannerCase make_case(DispatchFamily family, ExpertParallelGrid grid, int experts, int columns,
                             std::vector<std::int64_t> tokens) {
  PlannerCase run;
  run.config.family = family;
  run.config.grid = grid;
  run.config.columns = columns;
  run.experts = experts;
  run.tokens = std::move(tokens);
  run.tokens.resize(static_cast<std::size_t>(grid.world()), run.tokens.back());
  for (auto const count : run.tokens) run.config.max_tokens = std::max(run.config.max_tokens, count);
  run.name = std::string(to_string(family)) + " tp " + std::to_string(grid.tp) + " ep " + std::to_string(grid.ep) +
             ", " + std::to_string(experts) + " experts, " + std::to_string(columns) + " columns, " +
             std::to_string(run.tokens.front()) + ".. tokens";
  return run;
}

}  // namespace cross_backend
