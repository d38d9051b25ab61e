// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/megatron_metadata.hpp"

#include <algorithm>

#include "chunk_order.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

bool padded(DispatchPlan const& plan) {
  return plan.capacity && plan.capacity->padded;
}

/// The newest rule: every need names the latest point that still serves it, and the earliest of them wins.
SyncPoint newest_sync_point(DispatchPlan const& plan) {
  if (plan.capacity) return SyncPoint::before_permutation_1;
  if (plan.setup.grid.world() > 1) return SyncPoint::before_ep_alltoall;
  return plan.num_local_experts() > 1 ? SyncPoint::before_permutation_2 : SyncPoint::before_finish;
}

SyncPoint seed_sync_point(DispatchPlan const& plan) {
  if (plan.capacity) return SyncPoint::before_permutation_1;
  bool const needs_splits = plan.setup.grid.ep > 1 || plan.num_local_experts() > 1;
  return needs_splits ? SyncPoint::before_ep_alltoall : SyncPoint::before_finish;
}

SyncPoint megablocks_sync_point(DispatchPlan const& plan) {
  if (plan.setup.grid.world() > 1) return SyncPoint::before_ep_alltoall;
  bool const counted = plan.setup.bins != ExpertBins::exact && !plan.capacity;
  return counted ? SyncPoint::before_permutation_1 : SyncPoint::no_sync;
}

/// With padding Megatron exchanges equal splits, which is only defined when all ranks have one capacity.
void require_equal_capacities(DispatchPlan const& plan) {
  if (!padded(plan)) return;
  auto const expected = plan.capacity->rows * plan.setup.grid.world();
  auto const& tokens = plan.tokens_per_local_expert;
  auto const other = std::find_if(tokens.begin(), tokens.end(), [&](std::int64_t rows) { return rows != expected; });
  SWITCHYARD_REQUIRE(other == tokens.end(), unsupported,
                     "rank {} pads to {} rows, but its local expert {} receives {} instead of {}: ranks have different "
                     "capacities, which Megatron's equal splits cannot express",
                     plan.rank.value(), plan.capacity->rows, other - tokens.begin(), *other, expected);
}

void fill_splits(DispatchPlan const& plan, MegatronMetadata& metadata) {
  auto const& grid = plan.setup.grid;
  if (padded(plan) || grid.world() == 1) return;
  std::vector<std::int64_t> input;
  std::vector<std::int64_t> output;
  std::vector<std::int64_t> output_tp;
  auto const* exchange = plan.find<RowExchange>();
  auto const* gather = plan.find<GroupGather>();
  for (int ep = 0; ep < grid.ep; ++ep) {
    auto const peer = grid.rank_of(ep, grid.tp_rank_of(plan.rank)).index();
    input.push_back(exchange ? exchange->send_rows[peer] : metadata.num_out_tokens);
    output.push_back(exchange ? exchange->receive_rows[peer] : metadata.num_out_tokens);
  }
  for (int tp = 0; tp < grid.tp; ++tp) {
    auto const peer = grid.rank_of(grid.ep_rank_of(plan.rank), tp).index();
    output_tp.push_back(gather ? gather->receive_rows[peer] : plan.num_expert_rows());
  }
  metadata.input_splits = std::move(input);
  metadata.output_splits = std::move(output);
  metadata.output_splits_tp = std::move(output_tp);
}

void fill_chunks(DispatchPlan const& plan, MegatronMetadata& metadata) {
  auto const& grid = plan.setup.grid;
  std::int64_t const local = plan.num_local_experts();
  ChunkSort table;
  table.order = chunk_order(grid, local, plan.setup.row_order);
  table.sizes.assign(table.order.size(), 0);
  metadata.restore_output_by_local_experts = inverse_of(table).order;
  metadata.sort_input_by_local_experts = std::move(table.order);
  if (padded(plan)) {
    metadata.num_global_tokens_per_local_expert.emplace(to_size(local * grid.world()), plan.capacity->rows);
  } else if (auto const* sort = plan.find<ChunkSort>()) {
    metadata.num_global_tokens_per_local_expert = sort->sizes;
  }
}

}  // namespace

std::string_view to_string(SyncPoint point) noexcept {
  switch (point) {
    case SyncPoint::before_permutation_1: return "before_permutation_1";
    case SyncPoint::before_ep_alltoall: return "before_ep_alltoall";
    case SyncPoint::before_permutation_2: return "before_permutation_2";
    case SyncPoint::before_finish: return "before_finish";
    case SyncPoint::no_sync: return "no_sync";
  }
  return "unknown";
}

SyncPoint sync_point(DispatchPlan const& plan, SyncRule rule) {
  switch (plan.setup.family) {
    case DispatchFamily::megatron_alltoall: break;
    case DispatchFamily::megatron_allgather: return SyncPoint::before_permutation_1;
    case DispatchFamily::megatron_flex: return SyncPoint::before_permutation_2;
    case DispatchFamily::megablocks: return megablocks_sync_point(plan);
  }
  if (padded(plan)) return SyncPoint::no_sync;
  return rule == SyncRule::megatron_newest ? newest_sync_point(plan) : seed_sync_point(plan);
}

SyncFacts sync_facts(DispatchPlan const& plan, SyncRule rule) {
  return {sync_point(plan, rule), rule != SyncRule::mindspeed};
}

MegatronMetadata megatron_metadata(DispatchPlan const& plan) {
  SWITCHYARD_REQUIRE(plan.setup.family == DispatchFamily::megatron_alltoall, unsupported,
                     "a plan of family {} has no counterpart in Megatron's AlltoAll dispatcher",
                     to_string(plan.setup.family));
  require_valid(plan);
  require_equal_capacities(plan);
  auto const* gather = plan.find<RowGather>();
  MegatronMetadata metadata;
  metadata.num_out_tokens = static_cast<std::int64_t>(gather->token_of_row.size());
  metadata.permutation = gather->token_of_row;
  metadata.tokens_per_local_expert = plan.tokens_per_local_expert;
  metadata.cuda_sync_point = sync_point(plan, SyncRule::megatron_seed);
  fill_splits(plan, metadata);
  fill_chunks(plan, metadata);
  return metadata;
}

}  // namespace switchyard
