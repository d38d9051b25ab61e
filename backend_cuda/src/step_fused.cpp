// SPDX-License-Identifier: Apache-2.0
// The path of StepExecutor inside an NVLink domain: FusedExecutor.
#include <utility>

#include "agreement.hpp"
#include "step_route.hpp"
#include "switchyard/cuda/fused_executor.hpp"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

class FusedRoute final : public StepRoute {
 public:
  FusedRoute(StepSetup const& setup, std::unique_ptr<FusedExecutor> fused)
      : options_(setup.options), fused_(std::move(fused)) {
    if (options_.planning == StepPlanning::device)
      plan_.emplace(fused_->prepare(options_.planner, setup.placement, setup.layer));
  }

  void plan(DeviceRouting const& routing, StreamView stream) override {
    fused_->plan(*plan_, routing, stream);
    weights_ = step_weights(routing, nullptr, options_.planner.columns);
  }
  void prepare(PlacedPlan const& plan) override {
    SWITCHYARD_REQUIRE(plan.weights.dtype() == DType::f32, unsupported, "{} weights of fused steps: they are f32",
                       to_string(plan.weights.dtype()));
    next_.emplace(fused_->prepare(plan.lists));
  }
  void adopt(std::unique_ptr<PlacedPlan> plan) noexcept override {
    plan_ = std::exchange(next_, std::nullopt);
    placed_ = std::move(plan);
    weights_ = placed_->weights;
  }
  void dispatch(ConstTensorView tokens, TensorView rows, StreamView stream) override {
    fused_->dispatch(*plan_, tokens, weights_, rows, stream);
  }
  void combine(ConstTensorView expert_rows, TensorView out, StepExtras const& extras, StreamView stream) override {
    fused_->combine(*plan_, expert_rows, out, stream);
    auto const& shared = extras.shared_expert;
    if (!shared) return;
    SWITCHYARD_REQUIRE(shared->dtype() == out.dtype() && shared->shape().num_elements() == out.shape().num_elements(),
                       shape_mismatch, "{} {} values of a shared expert for {} {} values",
                       shared->shape().num_elements(), to_string(shared->dtype()), out.shape().num_elements(),
                       to_string(out.dtype()));
    launch_add_shared(out.data(), shared->data(), out.shape().num_elements(), out.dtype(), stream);
  }
  void check(StreamView stream) override {
    if (plan_) return fused_->check(*plan_, stream);
    fused_->check(stream);
  }
  [[nodiscard]] std::int64_t expert_rows() const noexcept override { return plan_ ? plan_->expert_rows() : 0; }
  [[nodiscard]] StepCounts counts() const noexcept override {
    if (placed_ != nullptr) return placed_->where();
    return plan_ ? counts_of(*plan_->planner()) : StepCounts{};
  }

 private:
  StepOptions options_;
  std::unique_ptr<FusedExecutor> fused_;
  std::unique_ptr<PlacedPlan> placed_;  // outlives the lists that point into it
  std::optional<FusedPlan> plan_;
  std::optional<FusedPlan> next_;
  ConstTensorView weights_;
};

/// What can be said before windows are made.
std::string refusal_of(StepOptions const& options) {
  CombineRecipe const& recipe = options.recipe;
  if (options.planner.family != DispatchFamily::megatron_flex || options.planner.grid.tp != 1)
    return "only Flex plans without TP are fused";
  bool const is_partial = recipe == CombineRecipe::rank_partial(recipe.partial) &&
                          dtype_after(recipe.partial, options.dtype, DType::f32) == options.dtype;
  if (!is_partial || options.route == CombineRoute::rows)
    return "only rank_partial with partials of the rows' dtype is fused, not " + to_string(recipe);
  constexpr std::int64_t kWordBytes = 16;
  if (checked_mul(options.hidden, size_of(options.dtype)) % kWordBytes != 0)
    return "rows are not a multiple of 16 bytes wide";
  return {};
}

FusedOptions windows_for(StepSetup const& setup) {
  StepOptions const& options = setup.options;
  bool const is_dense = options.planner.form == RoutingForm::dense || options.planner.capacity.has_value();
  FusedOptions windows;
  windows.max_tokens = options.planner.max_tokens;
  windows.max_row_bytes = checked_mul(options.hidden, size_of(options.dtype));
  windows.max_slots = is_dense ? setup.placement.num_experts() : options.planner.columns;
  windows.setup_deadline = options.setup_deadline;
  windows.deadline = options.deadline;
  return windows;
}

}  // namespace

RouteAttempt try_fused_route(StepSetup const& setup) {
  if (std::string refusal = refusal_of(setup.options); !refusal.empty()) return {nullptr, std::move(refusal)};
  auto attempt = FusedExecutor::create(setup.group.host, windows_for(setup));
  if (attempt.executor == nullptr) return {nullptr, std::move(attempt.reason)};
  std::unique_ptr<StepRoute> route;
  auto const problem = try_together(setup.group.host, "step setup",
                                    [&] { route = std::make_unique<FusedRoute>(setup, std::move(attempt.executor)); });
  if (problem) return {nullptr, problem->sentence()};
  return {std::move(route), {}};
}

}  // namespace switchyard::cuda
