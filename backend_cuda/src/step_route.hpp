// SPDX-License-Identifier: Apache-2.0
/// StepRoute: one of the paths that StepExecutor chooses from.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/step_executor.hpp"

namespace switchyard::cuda {

/// What a route is made from. Options are sound and equal on all ranks.
struct StepSetup {
  StepExecutor::Group group;
  StepOptions const& options;
  ExpertPlacement const& placement;
  int layer;
};

/// A plan that the host made, on the device, with its weights.
struct PlacedPlan {
  PlacedPlan(DispatchPlan plan, ConstTensorView step_weights, std::span<std::int32_t const> experts);
  [[nodiscard]] StepCounts where() const;

  DevicePlan lists;
  ConstTensorView weights;
  DeviceBuffer counts;  ///< expert rows, then rows by local expert
};

class StepRoute {
 public:
  virtual ~StepRoute() = default;
  virtual void plan(DeviceRouting const& routing, StreamView stream) = 0;
  /// Makes what this path needs for a plan of the host, beside what steps use now. This rank alone; may throw.
  virtual void prepare(PlacedPlan const& plan) = 0;
  /// Takes the plan prepared last.
  virtual void adopt(std::unique_ptr<PlacedPlan> plan) noexcept = 0;
  virtual void dispatch(ConstTensorView tokens, TensorView rows, StreamView stream) = 0;
  virtual void combine(ConstTensorView expert_rows, TensorView out, StepExtras const& extras, StreamView stream) = 0;
  virtual void check(StreamView stream) = 0;
  [[nodiscard]] virtual std::int64_t expert_rows() const noexcept = 0;
  [[nodiscard]] virtual StepCounts counts() const noexcept = 0;
};

/// Null on all ranks with a reason, which is the same on all.
struct RouteAttempt {
  std::unique_ptr<StepRoute> route;
  std::string reason;
};
/// Collective.
[[nodiscard]] RouteAttempt try_fused_route(StepSetup const& setup);
[[nodiscard]] RouteAttempt try_slot_route(StepSetup const& setup);
[[nodiscard]] RouteAttempt try_exact_route(StepSetup const& setup);

/// The weights that belong to a planned step. @param kept of a planner with a capacity, else null
[[nodiscard]] ConstTensorView step_weights(DeviceRouting const& routing, float const* kept, std::int64_t columns);
[[nodiscard]] StepCounts counts_of(DevicePlanner const& planner) noexcept;
/// The operands of a combine by CudaExecutor.
[[nodiscard]] CombineInputs step_inputs(StepOptions const& options, ConstTensorView const& weights,
                                        StepExtras const& extras);
/// The first rows of a matrix. @throws Error{shape_mismatch} unless it has `have` rows, of which there are enough
[[nodiscard]] TensorView first_rows(TensorView const& matrix, std::int64_t have, std::int64_t count);
[[nodiscard]] ConstTensorView first_rows(ConstTensorView const& matrix, std::int64_t have, std::int64_t count);

}  // namespace switchyard::cuda
