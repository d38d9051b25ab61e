// SPDX-License-Identifier: Apache-2.0
#include "stage_roles.hpp"

#include "chunk_order.hpp"

namespace switchyard {
namespace {

/// Megatron's composition: a stage that would do nothing is left out.
std::vector<StageRole> alltoall_roles(DispatchPlan const& plan) {
  auto const& setup = plan.setup;
  std::vector<StageRole> roles{StageRole::source_rows};
  if (setup.grid.ep > 1) roles.push_back(StageRole::lane_exchange);
  if (setup.grid.tp > 1) roles.push_back(StageRole::tp_gather);
  if (needs_sort(setup.grid, plan.num_local_experts(), setup.row_order)) roles.push_back(StageRole::sort_chunks);
  return roles;
}

std::vector<StageRole> megablocks_roles(DispatchPlan const& plan) {
  auto const& setup = plan.setup;
  bool const bins = setup.bins != ExpertBins::exact;
  if (setup.grid.world() == 1) return {bins ? StageRole::source_bins : StageRole::source_rows};
  std::vector<StageRole> roles{StageRole::source_rows};
  if (setup.hidden_shards > 1) roles.push_back(StageRole::repeat_shards);
  roles.push_back(StageRole::world_exchange);
  if (plan.num_local_experts() > 1) roles.push_back(StageRole::sort_rows);
  if (bins) roles.push_back(StageRole::bin_rows);
  return roles;
}

}  // namespace

std::string_view name_of(StageRole role) noexcept {
  switch (role) {
    case StageRole::source_rows: return "permute";
    case StageRole::source_bins: return "permute into bins";
    case StageRole::unique_rows: return "permute to unique rows";
    case StageRole::expand_rows: return "expand";
    case StageRole::sort_rows: return "sort";
    case StageRole::bin_rows: return "bin";
    case StageRole::lane_exchange: return "exchange in the EP lane";
    case StageRole::world_exchange: return "exchange";
    case StageRole::tp_gather: return "TP gather";
    case StageRole::world_gather: return "world gather";
    case StageRole::sort_chunks: return "chunk sort";
    case StageRole::repeat_shards: return "shard repeat";
  }
  return "unknown";
}

bool fits(StageRole role, DispatchStage const& stage) noexcept {
  auto const* gather = std::get_if<GroupGather>(&stage);
  switch (role) {
    case StageRole::source_rows:
    case StageRole::source_bins:
    case StageRole::unique_rows:
    case StageRole::expand_rows:
    case StageRole::sort_rows:
    case StageRole::bin_rows: return std::holds_alternative<RowGather>(stage);
    case StageRole::lane_exchange:
    case StageRole::world_exchange: return std::holds_alternative<RowExchange>(stage);
    case StageRole::tp_gather: return gather != nullptr && gather->group == GatherGroup::tp;
    case StageRole::world_gather: return gather != nullptr && gather->group == GatherGroup::world;
    case StageRole::sort_chunks: return std::holds_alternative<ChunkSort>(stage);
    case StageRole::repeat_shards: return std::holds_alternative<ShardRepeat>(stage);
  }
  return false;
}

std::vector<StageRole> stage_roles(DispatchPlan const& plan) {
  bool const alone = plan.setup.grid.world() == 1;
  switch (plan.setup.family) {
    case DispatchFamily::megatron_alltoall: return alltoall_roles(plan);
    case DispatchFamily::megatron_allgather:
      if (alone) return {StageRole::expand_rows};
      return {StageRole::world_gather, StageRole::expand_rows};
    case DispatchFamily::megatron_flex:
      if (alone) return {StageRole::unique_rows, StageRole::expand_rows};
      return {StageRole::unique_rows, StageRole::world_exchange, StageRole::expand_rows};
    case DispatchFamily::megablocks: return megablocks_roles(plan);
  }
  return {};
}

std::vector<StageRole> row_return_roles(DispatchPlan const& plan) {
  bool const partials =
      plan.setup.family == DispatchFamily::megatron_allgather || plan.setup.family == DispatchFamily::megatron_flex;
  return partials ? alltoall_roles(plan) : std::vector<StageRole>{};
}

}  // namespace switchyard
