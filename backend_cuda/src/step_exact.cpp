// SPDX-License-Identifier: Apache-2.0
// The path of StepExecutor on which the host knows every plan: CudaExecutor with a DevicePlan.
#include <utility>
#include <vector>

#include "agreement.hpp"
#include "cuda_error.hpp"
#include "device_planner_state.hpp"
#include "step_route.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

class ExactRoute final : public StepRoute {
 public:
  explicit ExactRoute(StepSetup const& setup) : options_(setup.options), group_(setup.group), gpu_(setup.group.device) {
    if (options_.planning == StepPlanning::device)
      planner_.emplace(options_.planner, group_.host.rank(), setup.placement, setup.layer);
  }

  void plan(DeviceRouting const& routing, StreamView stream) override {
    planner_->assign(routing, stream);
    planner_->exchange(group_.device, stream);
    planner_->plan(stream);
    group_.device.wait(stream);
    std::unique_ptr<PlacedPlan> placed;
    problem_ = try_together(group_.host, "step plan", [&] {
      DispatchPlan plan = planner_->download(stream);
      auto const weights = step_weights(routing, planner_->kept_weights(), plan.slot_columns);
      placed = std::make_unique<PlacedPlan>(std::move(plan), weights, experts_of(routing, stream));
    });
    placed_ = problem_ ? nullptr : std::move(placed);
  }
  void prepare(PlacedPlan const& plan) override {
    require_supported(plan.lists.plan(), options_.recipe, options_.route);
  }
  void adopt(std::unique_ptr<PlacedPlan> plan) noexcept override { placed_ = std::move(plan); }

  void dispatch(ConstTensorView tokens, TensorView rows, StreamView stream) override {
    if (problem_) return fill_zeros(rows, stream);
    gpu_.dispatch(placed_->lists, tokens, first_rows(rows, expert_rows(), planned_rows()), stream);
  }
  void combine(ConstTensorView expert_rows_in, TensorView out, StepExtras const& extras, StreamView stream) override {
    if (problem_) return fill_zeros(out, stream);
    gpu_.combine(placed_->lists, options_.recipe, first_rows(expert_rows_in, expert_rows(), planned_rows()),
                 step_inputs(options_, placed_->weights, extras), out, stream);
  }
  void check(StreamView stream) override {
    group_.device.wait(stream);
    if (problem_) {
      planner_->forget_error(stream);
      std::exchange(problem_, std::nullopt)->raise();
    }
    gpu_.check(stream);
  }

  [[nodiscard]] std::int64_t expert_rows() const noexcept override {
    return planner_ ? planner_->max_expert_rows() : planned_rows();
  }
  [[nodiscard]] StepCounts counts() const noexcept override {
    if (planner_) return counts_of(*planner_);
    return placed_ != nullptr ? placed_->where() : StepCounts{};
  }

 private:
  [[nodiscard]] std::int64_t planned_rows() const {
    return placed_ == nullptr ? 0 : placed_->lists.plan().num_expert_rows();
  }

  /// The ids of a routing, which orders by expert need on the host.
  std::vector<std::int32_t> experts_of(DeviceRouting const& routing, StreamView stream) const {
    bool const has_ids = options_.planner.form == RoutingForm::topk && !options_.planner.capacity;
    if (!has_ids || options_.recipe.order != SumOrder::source_expert) return {};
    std::vector<std::int32_t> ids(to_size(routing.tokens * options_.planner.columns));
    if (ids.empty()) return ids;
    SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(ids.data(), routing.ids, ids.size() * sizeof(std::int32_t),
                                        cudaMemcpyDeviceToHost, stream.handle()));
    stream.synchronize();
    return ids;
  }
  static void fill_zeros(TensorView const& view, StreamView stream) {
    std::int64_t const bytes = view.shape().num_elements() * size_of(view.dtype());
    if (bytes > 0) SWITCHYARD_CUDA_TRY(cudaMemsetAsync(view.data(), 0, to_size(bytes), stream.handle()));
  }

  StepOptions options_;
  StepExecutor::Group group_;
  std::optional<DevicePlanner> planner_;
  std::unique_ptr<PlacedPlan> placed_;
  std::optional<GroupProblem> problem_;  ///< of the last plan
  CudaExecutor gpu_;
};

}  // namespace

RouteAttempt try_exact_route(StepSetup const& setup) {
  std::unique_ptr<StepRoute> route;
  auto const problem = try_together(setup.group.host, "step setup", [&] {
    if (setup.options.planning == StepPlanning::device) {
      RankId const rank = setup.group.host.rank();
      require_supported(plan_skeleton(setup.options.planner, rank, setup.placement, setup.layer), setup.options.recipe,
                        setup.options.route);
    }
    route = std::make_unique<ExactRoute>(setup);
  });
  if (problem) return {nullptr, problem->sentence()};
  return {std::move(route), {}};
}

}  // namespace switchyard::cuda
