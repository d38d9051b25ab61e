// SPDX-License-Identifier: Apache-2.0
/// StepExecutor: steps (plan, dispatch, combine) over whichever path of this backend is the fastest that can run them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/recipe_support.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// Which executor runs the steps, best first. All give the same bytes.
enum class StepPath : std::uint8_t {
  fused,  ///< FusedExecutor: stores into the peers' windows, inside an NVLink domain
  slots,  ///< CudaExecutor with a BudgetPlan: exchanges of fixed size, no counts on the host
  exact,  ///< CudaExecutor with a DevicePlan: exchanges of the plan's rows, whose counts the host knows
};
[[nodiscard]] std::string_view to_string(StepPath path) noexcept;

/// Who makes the plan of a step.
enum class StepPlanning : std::uint8_t {
  device,  ///< kernels, from routing on the device
  host,    ///< the caller, with core's planners
};

/// Equal on all ranks.
struct StepOptions {
  /// What plans have in common. Without plans made on a device: family, grid, form, columns, max_tokens and capacity.
  DevicePlannerConfig planner{};
  StepPlanning planning = StepPlanning::device;
  CombineRecipe recipe = CombineRecipe::rank_partial();
  CombineRoute route = CombineRoute::automatic;
  DType dtype = DType::bf16;  ///< of tokens, expert rows and results
  std::int64_t hidden = 0;
  /// For the slots, as BudgetOptions has them. Where a recipe returns single rows and single_rows is 0, slots hold as
  /// many as can come.
  std::int64_t carried_rows = 0;
  std::int64_t single_rows = 0;
  bool exact_splits = false;
  /// This path or an error, for tests and comparisons.
  std::optional<StepPath> path{};
  Duration setup_deadline = std::chrono::seconds(60);  ///< of the fused path's windows
  Duration deadline = std::chrono::seconds(10);        ///< of its kernels that wait for peers
};

/// Counts on the device. Undefined after an error.
struct StepCounts {
  std::int64_t const* expert_rows = nullptr;      ///< rows of the step's plan: what lies behind them is not written
  std::int64_t const* rows_per_expert = nullptr;  ///< [local experts] the same by local expert
};

/// What a combine may add. Device memory.
struct StepExtras {
  std::optional<ConstTensorView> shared_expert{};  ///< [T, H] of the result's dtype; the recipe says where it enters
  std::optional<ConstTensorView> join_bias{};      ///< as CombineInputs has it
};

/// Takes the first path that every rank can run: fused where all ranks reach each other's memory, plans are Flex
/// without TP and the recipe is rank_partial; then slots, where plans are made on the device; then exact. What stands
/// against a path on one rank stands against it on all, and reason() says it. A path is chosen once, when the object is
/// made.
///
/// A step is plan(), dispatch(), combine(), in the order of one stream, with any number of dispatches and combines per
/// plan. Bytes of results, the order of expert rows and the plan's integers are equal on all paths. Calls are
/// collective, with the same operands but for the tokens on all ranks. Whether the host waits in a call, and whether
/// calls can be captured, follows from the path: see capturable().
///
/// check() raises what kernels found. Routing at fault, or more expert rows than planner.max_expert_rows, is found by
/// all ranks: outputs are zeros from then on. On the paths slots and exact check() then raises the same error on every
/// rank and the object is usable again; on the fused path the rank at fault gets that error, the others
/// Error{aborted}, and the object is spent. NaN weights are found on these two paths only; fused, they give NaN tokens.
/// Forward only: gradients run on CudaExecutor.
class StepExecutor {
 public:
  /// The two ways to reach the group, often one object (NcclCommunicator). Both outlive the executor.
  struct Group {
    Communicator& host;
    DeviceCommunicator& device;
  };
  /// Collective. Binds to the current device; allocates what the path needs.
  /// @throws Error{desync} on every rank when options differ, Error{unsupported} with the reason when no path, or not
  /// the one asked for, can run the steps, Error{invalid_argument} for sizes; and what the communicators throw.
  StepExecutor(Group group, StepOptions const& options, ExpertPlacement const& placement, int layer);
  /// Call after all ranks have finished their last step.
  ~StepExecutor();
  StepExecutor(StepExecutor&&) noexcept;
  StepExecutor& operator=(StepExecutor&&) noexcept;

  [[nodiscard]] StepPath path() const noexcept;
  /// Why no better path was taken, as "fused: ...; slots: ..."; empty for the best one. Equal on all ranks.
  [[nodiscard]] std::string const& reason() const noexcept;
  /// Whether dispatch() and combine(), and plan() where plans are made on the device, can be captured in global mode
  /// after a step outside a capture: fused always; slots over an NcclCommunicator with CheckLevel::off, without
  /// exact_splits; exact never.
  [[nodiscard]] bool capturable() const noexcept;

  /// Makes the plan of a step from routing on the device. Host: waits on the path exact, and with exact_splits.
  /// @param routing with weights; all of it stays untouched until the step's last combine
  /// @throws Error{invalid_argument} for an object whose plans come from the host; as DevicePlanner::assign()
  void plan(DeviceRouting const& routing, StreamView stream);
  /// Takes a plan that the host made for the steps that follow; waits for the stream and allocates.
  /// @param weights [T, slot_columns] f32 (f64 not on the fused path), device memory, read in every step
  /// @param experts as DevicePlanOptions::experts
  /// @throws Error{invalid_plan, unsupported}, the same on every rank, with the old plan left as it was
  void plan(DispatchPlan plan, ConstTensorView weights, StreamView stream, std::span<std::int32_t const> experts = {});

  /// Rows of the tensors that experts see: the budget (or as many as can come) of plans made on the device, else the
  /// last plan's. The first *counts().expert_rows of them are written.
  [[nodiscard]] std::int64_t expert_rows() const noexcept;
  /// Valid until the next plan of the host; with plans made on the device as long as the object.
  [[nodiscard]] StepCounts counts() const noexcept;

  /// @param tokens [T, H] @param rows [expert_rows(), H]. Device memory, 16-byte aligned.
  /// @throws Error{shape_mismatch, unsupported, invalid_argument}, and what the communicator throws
  void dispatch(ConstTensorView tokens, TensorView rows, StreamView stream);
  /// @param expert_rows [expert_rows(), H]; with TP > 1 this TP rank's partial results, which may be f32
  /// @param out [T, H], written completely @throws as dispatch()
  void combine(ConstTensorView expert_rows, TensorView out, StreamView stream, StepExtras const& extras = {});

  /// Waits for the stream and raises what kernels found; see above. All ranks call it between the same steps.
  void check(StreamView stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
