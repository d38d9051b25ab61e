// SPDX-License-Identifier: Apache-2.0
// The plan that a DevicePlanner fills in: its skeleton, and which list of it lies where on the device.
#include <utility>

#include "device_planner_state.hpp"
#include "plan_binder.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/internal/plan_fields.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

RoutingMap empty_routing(DevicePlannerConfig const& config, int num_experts) {
  if (config.form == RoutingForm::dense || config.capacity) return RoutingMap::from_dense(0, num_experts, {}, {});
  return RoutingMap::from_topk(0, num_experts, config.columns, {}, {});
}

template <typename Config>
Config config_as(DevicePlannerConfig const& config) {
  Config other;
  other.grid = config.grid;
  other.row_order = config.row_order;
  other.replica_rule = config.replica_rule;
  return other;
}

DispatchPlan flex_skeleton(DevicePlannerConfig const& config, RankId rank, RoutingMap const& routing,
                           ExpertPlacement const& placement, int layer) {
  auto flex = config_as<FlexConfig>(config);
  flex.selection = config.selection;
  auto assignment = assign_flex_rows(flex, rank, routing, placement, layer);
  auto const one = flex_announcement(assignment);
  std::vector<std::int64_t> all;
  for (int other = 0; other < config.grid.world(); ++other) all.insert(all.end(), one.begin(), one.end());
  return plan_flex(flex, std::move(assignment), placement, layer, all, {});
}

}  // namespace

DispatchPlan plan_skeleton(DevicePlannerConfig const& config, RankId rank, ExpertPlacement const& placement,
                           int layer) {
  RoutingMap const routing = empty_routing(config, placement.num_experts());
  if (config.family == DispatchFamily::megatron_flex) return flex_skeleton(config, rank, routing, placement, layer);
  auto const world = to_size(config.grid.world());
  if (config.family == DispatchFamily::megatron_allgather) {
    auto const gather = config_as<AllGatherConfig>(config);
    auto assignment = assign_rows(return_config(gather), rank, routing, placement, layer);
    std::vector<SlotTable> const tables(world, slot_table(assignment));
    return plan_allgather(gather, std::move(assignment), placement, layer, tables);
  }
  if (config.family == DispatchFamily::megablocks) {
    MegaBlocksConfig blocks = config.megablocks;
    blocks.replica_rule = config.replica_rule;
    auto assignment = assign_megablocks_rows(blocks, rank, routing, placement, layer);
    std::vector<std::int64_t> const none(world * to_size(placement.num_slots()), 0);
    return plan_megablocks(blocks, std::move(assignment), placement, layer, none);
  }
  auto alltoall = config_as<AllToAllConfig>(config);
  alltoall.restore = config.restore;
  auto assignment = assign_rows(alltoall, rank, routing, placement, layer);
  std::vector<std::int64_t> const counts(world * to_size(placement.num_slots()), 0);
  return plan_alltoall(alltoall, std::move(assignment), placement, layer, counts);
}

/// The path of single rows.
void DevicePlanner::State::bind_rows(Binder& binder, DispatchStage& stage) const {
  if (auto* gather = std::get_if<RowGather>(&stage)) binder.gather(rows, kPlanRows, kPlanTokens, *gather);
  if (auto* exchange = std::get_if<RowExchange>(&stage)) {
    binder.fixed(lane_send, exchange->send_rows);
    binder.fixed(lane_receive, exchange->receive_rows);
  }
  if (auto* gather = std::get_if<GroupGather>(&stage)) {
    binder.number(tp_own.as<std::int64_t const>(), &gather->own_rows);
    binder.fixed(tp_receive, gather->receive_rows);
  }
  if (auto* sort = std::get_if<ChunkSort>(&stage)) {
    binder.fixed(chunk_sizes, sort->sizes);
    binder.fixed(chunk_order, sort->order);
  }
}

/// The path of one row per (rank, token).
void DevicePlanner::State::bind_carried(Binder& binder, DispatchStage& stage, bool is_first) const {
  if (auto* gather = std::get_if<RowGather>(&stage)) {
    bool const is_sending = is_flex() && is_first;
    binder.gather(is_sending ? sent : expansion, is_sending ? kPlanSentRows : kPlanExpertRows,
                  is_sending ? kPlanTokens : kPlanInputs, *gather);
  }
  if (auto* exchange = std::get_if<RowExchange>(&stage)) {
    binder.fixed(rank_send, exchange->send_rows);
    binder.fixed(rank_receive, exchange->receive_rows);
  }
  if (auto* gather = std::get_if<GroupGather>(&stage)) {
    binder.number(numbers.as<std::int64_t const>() + kPlanTokens, &gather->own_rows);
    binder.fixed(tokens_of_rank, gather->receive_rows);
  }
}

std::vector<BoundList> DevicePlanner::State::bind(DispatchPlan& plan) const {
  std::vector<BoundList> lists_of_plan;
  Binder binder(lists_of_plan);
  binder.plain(internal::kFieldRowsPerSlot, rows_per_slot, plan.rows_per_slot);
  if (is_megablocks()) {
    bind_bins(binder, plan);
    return lists_of_plan;
  }
  binder.plain(internal::kFieldTokensPerLocalExpert, tokens_per_local, plan.tokens_per_local_expert);
  auto& path = is_alltoall() ? plan.stages : plan.row_return;
  std::uint32_t field = is_alltoall() ? internal::kFieldStages : internal::kFieldRowReturn;
  for (auto& stage : path) {
    binder.start_stage(field);
    bind_rows(binder, stage);
    field += internal::kFieldsPerStage;
  }
  if (is_alltoall()) return lists_of_plan;
  field = internal::kFieldStages;
  for (auto& stage : plan.stages) {
    binder.start_stage(field);
    bind_carried(binder, stage, field == internal::kFieldStages);
    field += internal::kFieldsPerStage;
  }
  return lists_of_plan;
}

}  // namespace switchyard::cuda
