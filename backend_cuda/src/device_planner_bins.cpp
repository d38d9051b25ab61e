// SPDX-License-Identifier: Apache-2.0
// MegaBlocks on the device: memory, parameters and lists of the sort of what arrived and of the bins.
#include <algorithm>
#include <utility>

#include "device_list.hpp"
#include "device_planner_state.hpp"
#include "plan_binder.hpp"
#include "switchyard/dispatch/capacity_rule.hpp"
#include "switchyard/internal/plan_fields.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

std::int64_t* data_of(DeviceBuffer const& list) {
  return list.as<std::int64_t>();
}

/// Rows of all bins when nobody gave a budget. @param capacity of max_tokens
std::int64_t rows_of_bins(MegaBlocksConfig const& blocks, std::int64_t locals, std::int64_t arriving,
                          std::int64_t capacity) {
  switch (blocks.bins) {
    case ExpertBins::exact: return arriving;
    case ExpertBins::blocks: return checked_add(arriving, checked_mul(locals, blocks.block_rows - 1));
    case ExpertBins::capacity: break;
  }
  bool const is_counted = blocks.capacity_factor == 0 && blocks.zero_capacity == ZeroCapacity::largest_count;
  return is_counted ? checked_mul(locals, arriving) : std::max(arriving, checked_mul(locals, capacity));
}

}  // namespace

/// Rows of a bin by the factor; 0 where the factor says nothing.
std::int64_t DevicePlanner::State::bin_capacity(std::int64_t tokens) const {
  MegaBlocksConfig const& blocks = config.megablocks;
  int const top_k = blocks.top_k > 0 ? blocks.top_k : config.columns;
  std::int64_t const counted = megablocks_capacity_tokens(blocks.world, skeleton.setup.hidden_shards, tokens, top_k);
  return megablocks_capacity(counted, top_k, skeleton.setup.num_experts, blocks.world, blocks.capacity_factor);
}

void DevicePlanner::State::add_bins(int expert_blocks) {
  std::int64_t const locals = skeleton.num_local_experts();
  bins.max_sorted_rows = checked_mul(checked_mul(config.max_tokens, world), columns);
  bool const has_bins = config.megablocks.bins != ExpertBins::exact;
  max_expert_rows = config.max_expert_rows;
  if (max_expert_rows == 0)
    max_expert_rows =
        rows_of_bins(config.megablocks, locals, bins.max_sorted_rows, has_bins ? bin_capacity(config.max_tokens) : 0);
  SWITCHYARD_REQUIRE(std::max(max_expert_rows, bins.max_sorted_rows) <= INT32_MAX, unsupported,
                     "bins of {} rows on rank {} for up to {} arriving ones: a device plans at most 2^31; lower "
                     "max_tokens or give a budget of expert rows",
                     max_expert_rows, skeleton.rank.value(), bins.max_sorted_rows);
  bins.blocks = expert_blocks;
  if (expert_blocks < world) bins.shard_repeat = device_list<std::int64_t>(2);
  bins.bin_rows = device_list<std::int64_t>(locals);
  bins.bin_begin = device_list<std::int64_t>(locals + 1);
  bins.kept_begin = device_list<std::int64_t>(locals + 1);
  bins.sorted_begin = device_list<std::int64_t>(checked_mul(locals, world) + 1);
  bins.source_begin = device_list<std::int64_t>(world + 1);
  lists.tokens_per_local_expert = data_of(bins.bin_rows);
  if (world > 1 && locals > 1) {
    bins.sort.row_input = device_list<std::int64_t>(bins.max_sorted_rows);
    bins.sort.input_rows = device_list<std::int64_t>(bins.max_sorted_rows);
    bins.sort.input_begin = device_list<std::int64_t>(bins.max_sorted_rows + 1);
    lists.sort = bins.sort.gather();
  }
  if (!has_bins) return;
  bins.binned.row_input = device_list<std::int64_t>(max_expert_rows);
  bins.binned.input_rows = device_list<std::int64_t>(bins.max_sorted_rows);
  bins.binned.input_begin = device_list<std::int64_t>((world > 1 ? bins.max_sorted_rows : config.max_tokens) + 1);
  if (world == 1) bins.binned.row_column = device_list<std::int64_t>(max_expert_rows);
  lists.bins = bins.binned.gather();
}

std::optional<CapacityLimit> DevicePlanner::State::limit_bins(std::int64_t tokens) {
  if (config.megablocks.bins != ExpertBins::capacity) return {};
  std::int64_t const room = bin_capacity(tokens);
  bool const is_counted = room == 0 && config.megablocks.zero_capacity == ZeroCapacity::largest_count;
  bins.capacity = is_counted ? -1 : room;
  if (is_counted) return {};
  return CapacityLimit{room, false};
}

PlanBinsParams DevicePlanner::State::bins_params() const {
  PlanBinsParams params{};
  params.world = world;
  params.num_local = skeleton.num_local_experts();
  params.chunk_sizes = data_of(chunk_sizes);
  params.arrived = data_of(tokens_per_local);
  params.bins = config.megablocks.bins;
  params.capacity = bins.capacity;
  params.block_rows = config.megablocks.block_rows;
  params.max_bin_rows = max_expert_rows;
  params.shard_repeat = data_of(bins.shard_repeat);
  params.rows_per_slot = data_of(rows_per_slot);
  params.first_slot_of = first_slot_of.as<std::int32_t const>();
  params.num_slots = skeleton.setup.num_slots;
  params.blocks = bins.blocks;
  params.lane_send = data_of(lane_send);
  params.bin_rows = data_of(bins.bin_rows);
  params.bin_begin = data_of(bins.bin_begin);
  params.kept_begin = data_of(bins.kept_begin);
  params.sorted_begin = data_of(bins.sorted_begin);
  params.source_begin = data_of(bins.source_begin);
  params.numbers = data_of(numbers);
  params.error = error.as<unsigned long long>();
  params.max_sorted_rows = bins.max_sorted_rows;
  params.sort = bins.sort.target();
  params.binned = bins.binned.target();
  if (world == 1) params.own = rows.lists.gather();
  return params;
}

void DevicePlanner::State::bind_bins(Binder& binder, DispatchPlan& plan) const {
  binder.plain(internal::kFieldTokensPerLocalExpert, bins.bin_rows, plan.tokens_per_local_expert);
  bool const has_bins = config.megablocks.bins != ExpertBins::exact;
  std::uint32_t field = internal::kFieldStages;
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    binder.start_stage(field);
    field += internal::kFieldsPerStage;
    if (auto* const repeat = std::get_if<ShardRepeat>(&plan.stages[i])) {
      binder.numbers(bins.shard_repeat, &repeat->rows);
      continue;
    }
    auto* const gather = std::get_if<RowGather>(&plan.stages[i]);
    if (gather == nullptr || (i == 0 && (world > 1 || !has_bins))) {
      bind_rows(binder, plan.stages[i]);
      continue;
    }
    bool const is_bins = has_bins && i + 1 == plan.stages.size();
    PlanNumber const inputs = is_bins && world == 1 ? kPlanTokens : kPlanSortedRows;
    GatherMemory const& lists_of_stage = is_bins ? bins.binned : bins.sort;
    binder.list(lists_of_stage.row_input, is_bins ? kPlanExpertRows : kPlanSortedRows, 0, gather->token_of_row);
    if (is_bins && world == 1)
      binder.list(lists_of_stage.row_column, kPlanExpertRows, 0, gather->slot_of_row);
    else
      binder.empty(gather->slot_of_row);
    binder.list(lists_of_stage.input_begin, inputs, 1, gather->row_begin);
    binder.list(lists_of_stage.input_rows, is_bins ? kPlanBinnedRows : kPlanSortedRows, 0, gather->rows_of_token);
  }
}

}  // namespace switchyard::cuda
