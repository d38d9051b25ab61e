// SPDX-License-Identifier: Apache-2.0
// The path of StepExecutor over slots of fixed size: CudaExecutor with a BudgetPlan.
#include <algorithm>
#include <utility>

#include "agreement.hpp"
#include "budget_lists.hpp"
#include "device_planner_state.hpp"
#include "recipe_sums.hpp"
#include "step_route.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

class SlotRoute final : public StepRoute {
 public:
  SlotRoute(StepSetup const& setup, BudgetOptions const& budget)
      : options_(setup.options),
        budget_(setup.group.device, budget, setup.placement, setup.layer),
        gpu_(setup.group.device) {}

  void plan(DeviceRouting const& routing, StreamView stream) override {
    gpu_.plan(budget_, routing, stream);
    weights_ = step_weights(routing, budget_.planner().kept_weights(), budget_.lists().columns);
  }
  void prepare(PlacedPlan const& /*plan*/) override {}
  void adopt(std::unique_ptr<PlacedPlan> /*plan*/) noexcept override {}
  void dispatch(ConstTensorView tokens, TensorView rows, StreamView stream) override {
    gpu_.dispatch(budget_, tokens, rows, stream);
  }
  void combine(ConstTensorView expert_rows, TensorView out, StepExtras const& extras, StreamView stream) override {
    gpu_.combine(budget_, options_.recipe, expert_rows, step_inputs(options_, weights_, extras), out, stream);
  }
  void check(StreamView stream) override { gpu_.check(budget_, stream); }
  [[nodiscard]] std::int64_t expert_rows() const noexcept override { return budget_.expert_rows(); }
  [[nodiscard]] StepCounts counts() const noexcept override { return counts_of(budget_.planner()); }

 private:
  StepOptions options_;
  BudgetPlan budget_;
  CudaExecutor gpu_;
  ConstTensorView weights_;
};

/// Bytes of the widest rows that travel for one (rank, token) or (token, slot). Parts of TP ranks are f32.
std::int64_t widest_row(StepOptions const& options, bool by_partials) {
  std::int64_t const row = size_of(options.planner.grid.tp > 1 ? DType::f32 : options.dtype);
  std::int64_t const partial = is_exact(options.recipe) ? exact_state_bytes(options.dtype, false)
                                                        : size_of(wire_of(options.recipe, options.dtype, false).dtype);
  return checked_mul(options.hidden, by_partials ? std::max(row, partial) : row);
}

/// Sound options with every size. @param skeleton of this rank's plans @throws what makes the path impossible
BudgetOptions budget_of(StepOptions const& options, ExpertPlacement const& placement, DispatchPlan const& skeleton) {
  require_supported(skeleton, options.recipe, options.route);
  bool const by_partials = sends_partials(skeleton, options.recipe, options.route);
  BudgetOptions budget;
  budget.planner = options.planner;
  budget.max_row_bytes = widest_row(options, by_partials);
  budget.carried_rows = options.carried_rows;
  budget.single_rows = options.single_rows;
  if (!by_partials && budget.single_rows == 0)
    budget.single_rows = checked_mul(options.planner.max_tokens, skeleton.slot_columns);
  budget.carries_weights = by_partials;
  budget.exact_splits = options.exact_splits;
  require_budget_options(budget, placement);
  return completed_options(budget, placement, skeleton.slot_columns);
}

/// Whether slots of these sizes fit into memory now; so that ranks find out together.
void require_memory(BudgetOptions const& budget) {
  std::int64_t const widest = std::max(budget.single_rows, budget.carried_rows);
  DeviceBuffer const slots(checked_mul(checked_mul(2 * budget.planner.grid.world(), widest), budget.max_row_bytes));
}

}  // namespace

RouteAttempt try_slot_route(StepSetup const& setup) {
  if (setup.options.planning == StepPlanning::host) return {nullptr, "plans come from the host"};
  BudgetOptions budget;
  auto const problem = try_together(setup.group.host, "step setup", [&] {
    RankId const rank = setup.group.host.rank();
    auto const skeleton = plan_skeleton(setup.options.planner, rank, setup.placement, setup.layer);
    budget = budget_of(setup.options, setup.placement, skeleton);
    require_memory(budget);
  });
  if (problem) return {nullptr, problem->sentence()};
  return {std::make_unique<SlotRoute>(setup, budget), {}};
}

}  // namespace switchyard::cuda
