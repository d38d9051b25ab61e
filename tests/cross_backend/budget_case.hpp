// SPDX-License-Identifier: Apache-2.0
/// BudgetCase: what steps over slots of fixed size are compared on: a family, a grid, budgets, a batch.
#pragma once

#include <string>

#include "executor_cases.hpp"
#include "switchyard/cuda/budget_plan.hpp"
#include "switchyard/cuda/sums.hpp"

namespace cross_backend {

struct BudgetCase {
  Dispatcher dispatcher = Dispatcher::flex;
  int tp = 1;
  double capacity_factor = 0;  ///< of bins with a capacity; 0: as many as the fullest expert has
  RecipeBatch batch;
  bool exact_splits = false;
  bool carries_weights = false;
  std::int64_t expert_rows = 0;   ///< 0: enough
  std::int64_t carried_rows = 0;  ///< 0: enough
  std::int64_t single_rows = -1;  ///< -1: enough

  [[nodiscard]] RecipeRun run(int ranks) const {
    RecipeRun run;
    run.grid = {tp, ranks / tp};
    run.dispatcher = dispatcher;
    return run;
  }
  [[nodiscard]] DispatchFamily family() const {
    if (dispatcher == Dispatcher::flex) return DispatchFamily::megatron_flex;
    if (dispatcher == Dispatcher::allgather) return DispatchFamily::megatron_allgather;
    return run(1).is_megablocks() ? DispatchFamily::megablocks : DispatchFamily::megatron_alltoall;
  }
  [[nodiscard]] MegaBlocksConfig blocks(int ranks) const {
    MegaBlocksConfig config;
    config.world = ranks;
    config.bins = dispatcher == Dispatcher::megablocks_blocks     ? ExpertBins::blocks
                  : dispatcher == Dispatcher::megablocks_capacity ? ExpertBins::capacity
                                                                  : ExpertBins::exact;
    config.block_rows = 4;
    config.capacity_factor = capacity_factor;
    return config;
  }
  [[nodiscard]] DispatchPlan plan(Communicator& comm, RoutingMap const& routing,
                                  ExpertPlacement const& placement) const {
    if (family() != DispatchFamily::megablocks) return support::plan_of(run(comm.size()), comm, routing, placement);
    return plan_megablocks(comm, blocks(comm.size()), routing, placement, 0);
  }
  [[nodiscard]] std::string name() const {
    return std::string(support::name_of(dispatcher)) +
           (capacity_factor > 0 ? " factor " + std::to_string(capacity_factor) : "") +
           (tp > 1 ? " tp " + std::to_string(tp) : "") + (exact_splits ? " exact splits" : " slots") +
           (carries_weights ? " with weights" : "") + " hidden " + std::to_string(batch.hidden);
  }
  [[nodiscard]] cuda::BudgetOptions options(int ranks) const {
    cuda::BudgetOptions options;
    options.planner.family = family();
    options.planner.megablocks = blocks(ranks);
    options.planner.grid = {tp, ranks / tp};
    options.planner.row_order = dispatcher == Dispatcher::alltoall_tp_major ? RowOrder::tp_major : RowOrder::rank_major;
    options.planner.columns = batch.top_k;
    options.planner.max_tokens = batch.tokens + 2;
    options.planner.max_expert_rows = expert_rows;
    options.max_row_bytes = batch.hidden * cuda::exact_state_bytes(DType::f32, true);
    options.carried_rows = carried_rows;
    options.single_rows = single_rows < 0 ? (batch.tokens + 2) * batch.top_k : single_rows;
    options.exact_splits = exact_splits;
    options.carries_weights = carries_weights;
    return options;
  }
};

}  // namespace cross_backend
