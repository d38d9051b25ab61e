// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/plan_traffic.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::sim {
namespace {

void require_row_bytes(std::int64_t bytes) {
  SWITCHYARD_REQUIRE(bytes >= 1, invalid_argument, "a row of {} bytes moves nothing: give its size", bytes);
}

void require_group(std::span<DispatchPlan const> plans) {
  for (std::size_t rank = 0; rank < plans.size(); ++rank) {
    auto const world = plans[rank].setup.grid.world();
    SWITCHYARD_REQUIRE(world == static_cast<int>(plans.size()) && plans[rank].rank.index() == rank, shape_mismatch,
                       "plan {} of {} is rank {}'s of a world of {}: give the plans of all ranks, rank ascending", rank,
                       plans.size(), plans[rank].rank.value(), world);
    SWITCHYARD_REQUIRE(plans[rank].stages.size() == plans.front().stages.size(), shape_mismatch,
                       "rank {}'s plan has {} stages, rank 0's {}: they are of different dispatches", rank,
                       plans[rank].stages.size(), plans.front().stages.size());
  }
}

/// [world] rows that `plan`'s rank receives from every rank in stage `index`; empty when nothing moves between ranks.
std::span<std::int64_t const> received_rows(DispatchPlan const& plan, std::size_t index) {
  if (auto const* exchange = std::get_if<RowExchange>(&plan.stages[index])) return exchange->receive_rows;
  if (auto const* gather = std::get_if<GroupGather>(&plan.stages[index])) return gather->receive_rows;
  return {};
}

std::string phase_name(DispatchPlan const& plan, std::size_t index) {
  if (std::holds_alternative<RowExchange>(plan.stages[index])) return "exchange";
  bool const tp = std::get<GroupGather>(plan.stages[index]).group == GatherGroup::tp;
  return tp ? "gather over TP" : "gather over the world";
}

/// Flows of one stage, sources ascending, destinations ascending.
std::vector<Flow> stage_flows(std::span<DispatchPlan const> plans, std::size_t index, std::int64_t row_bytes) {
  std::vector<Flow> flows;
  for (std::size_t from = 0; from < plans.size(); ++from)
    for (DispatchPlan const& to : plans) {
      auto const rows = received_rows(to, index);
      if (from < rows.size() && rows[from] > 0)
        flows.push_back({RankId(static_cast<int>(from)), to.rank, checked_mul(rows[from], row_bytes), 1, 0});
    }
  return flows;
}

std::vector<TrafficPhase> one_way(std::span<DispatchPlan const> plans, std::int64_t row_bytes) {
  require_row_bytes(row_bytes);
  require_group(plans);
  std::vector<TrafficPhase> phases;
  for (std::size_t index = 0; !plans.empty() && index < plans.front().stages.size(); ++index)
    if (!received_rows(plans.front(), index).empty())
      phases.push_back({phase_name(plans.front(), index), stage_flows(plans, index, row_bytes)});
  return phases;
}

}  // namespace

std::vector<TrafficPhase> dispatch_traffic(std::span<DispatchPlan const> plans, std::int64_t row_bytes) {
  return one_way(plans, row_bytes);
}

std::vector<TrafficPhase> combine_traffic(std::span<DispatchPlan const> plans, std::int64_t row_bytes) {
  return way_back(one_way(plans, row_bytes));
}

std::vector<TrafficPhase> way_back(std::vector<TrafficPhase> phases) {
  std::reverse(phases.begin(), phases.end());
  for (TrafficPhase& phase : phases) {
    for (Flow& flow : phase.flows) std::swap(flow.from, flow.to);
    std::stable_sort(phase.flows.begin(), phase.flows.end(),
                     [](Flow const& a, Flow const& b) { return a.from < b.from; });
  }
  return phases;
}

std::vector<Flow> layer_flows(LayerTransfers const& layer, std::int64_t expert_bytes) {
  require_row_bytes(expert_bytes);
  std::vector<Flow> flows;
  for (std::size_t rank = 0; rank < layer.ranks.size(); ++rank)
    for (ExpertSend const& send : layer.ranks[rank].sends)
      flows.push_back({RankId(static_cast<int>(rank)), send.to, expert_bytes, 1, 0});
  return flows;
}

std::vector<TrafficPhase> rebalance_traffic(RebalancePlan const& plan, std::int64_t expert_bytes) {
  require_row_bytes(expert_bytes);
  std::vector<TrafficPhase> phases;
  for (std::size_t layer = 0; layer < plan.layers.size(); ++layer) {
    TrafficPhase phase{fmt::format("layer {}", layer), layer_flows(plan.layers[layer], expert_bytes)};
    if (!phase.flows.empty()) phases.push_back(std::move(phase));
  }
  return phases;
}

}  // namespace switchyard::sim
