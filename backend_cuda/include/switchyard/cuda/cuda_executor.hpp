// SPDX-License-Identifier: Apache-2.0
/// CudaExecutor: runs DispatchPlans on a GPU, one object per rank. Bytes equal those of cpu::CpuExecutor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "switchyard/cuda/budget_plan.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/cuda/device_plan.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/recipe_support.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// What a combine needs beside the experts' rows. Device memory.
struct CombineInputs {
  /// [T, plan.slot_columns] f32, or f64 on all ranks: exact terms of the exact recipes, promoted by megatron_allgather,
  /// rounded to fp32 first by all others.
  ConstTensorView weights{};
  std::optional<ConstTensorView> shared_expert{};  ///< [T, H] of the result's dtype; the recipe says where it enters
  /// [local experts, H] f32, bf16 or f16, for TP > 1 only: the bias of the experts' second matrix, added in fp32 to the
  /// joined TP sum of every row before its rounding. All ranks give it or none; see cpu::CombineInputs::join_bias.
  std::optional<ConstTensorView> join_bias{};
  CombineRoute route = CombineRoute::automatic;
};

/// Executes a plan forward (dispatch) and inverted in reverse (combine) on device memory, with exact splits known to
/// the host.
///
/// Rows are f32, bf16 or f16 matrices, contiguous, on the device; dispatch, which only moves them, takes any dtype, as
/// for packets of codes and their scales (launch_quantize() with strides). Calls are collective over the communicator
/// and return when their work is issued to `stream`; operands stay untouched until the stream passes it. Scratch memory
/// is kept between calls, so that steps of equal size allocate nothing; one object must not be used by two threads at
/// once, and its calls use one stream at a time. Not for capture: a call compares exchanges with its peers on the host.
/// Errors as CpuExecutor's, but for NaN weights: see check().
class CudaExecutor {
 public:
  /// @param comm outlives the executor; its size must be the plans' world. Binds to the current device.
  explicit CudaExecutor(DeviceCommunicator& comm);
  ~CudaExecutor();
  CudaExecutor(CudaExecutor&&) noexcept;
  CudaExecutor& operator=(CudaExecutor&&) noexcept;

  /// Brings every token to its experts. @param tokens [T, H] @param rows [plan.num_expert_rows(), H], written
  /// completely. @throws Error{shape_mismatch, unsupported, invalid_argument}, and what the communicator throws.
  void dispatch(DevicePlan const& plan, ConstTensorView tokens, TensorView rows, StreamView stream,
                std::optional<Duration> deadline = {});

  /// Brings the experts' results back and adds every token's rows with their weights.
  /// @param expert_rows [plan.num_expert_rows(), H] of out's dtype or f32; with TP > 1 this TP rank's partial results.
  /// @param out [T, H], written completely. @throws as dispatch(); Error{unsupported} with recipe_support()'s reason.
  void combine(DevicePlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
               CombineInputs const& inputs, TensorView out, StreamView stream, std::optional<Duration> deadline = {});

  /// The gradient of dispatch(): a combine with weight 1.
  void dispatch_backward(DevicePlan const& plan, CombineRecipe const& recipe, ConstTensorView row_gradients,
                         TensorView token_gradients, StreamView stream, std::optional<Duration> deadline = {});

  /// The gradients of combine(); see CpuExecutor::combine_backward(). @param weight_gradients [T, slot_columns] f32
  void combine_backward(DevicePlan const& plan, ConstTensorView out_gradients, ConstTensorView expert_rows,
                        CombineInputs const& inputs, TensorView row_gradients, TensorView weight_gradients,
                        StreamView stream, std::optional<Duration> deadline = {});

  /// Makes the plan of a step from routing on the device. Kernels and exchanges of fixed size: with a communicator that
  /// does not check calls (NcclOptions::check off) this and the three calls below need no other rank's host, and with
  /// one that can be captured (NCCL) they are capturable in global mode once they have run outside a capture.
  /// @param routing its ids stay until the last combine in source_expert_order, its weights until the dispatch, where
  /// BudgetOptions::carries_weights; @throws as DevicePlanner::assign(), and
  /// what the communicator throws
  void plan(BudgetPlan const& plan, DeviceRouting const& routing, StreamView stream);
  /// dispatch() by the plan of the last plan() call. @param rows [plan.expert_rows(), H]; those that the plan has are
  /// written, all after an error. @throws Error{unsupported} also for rows wider than the plan's slots
  void dispatch(BudgetPlan const& plan, ConstTensorView tokens, TensorView rows, StreamView stream,
                std::optional<Duration> deadline = {});
  /// combine() by it. @param expert_rows [plan.expert_rows(), H] of out's dtype or f32. After an error tokens are
  /// zeros, but for their shared expert. @throws Error{unsupported} also for single rows where the plan has no slots
  /// for them
  void combine(BudgetPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
               CombineInputs const& inputs, TensorView out, StreamView stream, std::optional<Duration> deadline = {});
  void dispatch_backward(BudgetPlan const& plan, CombineRecipe const& recipe, ConstTensorView row_gradients,
                         TensorView token_gradients, StreamView stream, std::optional<Duration> deadline = {});
  /// Needs slots for single rows. @param expert_rows [plan.expert_rows(), H] of out_gradients' dtype or f32 @param
  /// row_gradients [plan.expert_rows(), H] of out_gradients' dtype
  void combine_backward(BudgetPlan const& plan, ConstTensorView out_gradients, ConstTensorView expert_rows,
                        CombineInputs const& inputs, TensorView row_gradients, TensorView weight_gradients,
                        StreamView stream, std::optional<Duration> deadline = {});
  /// Waits for the stream and raises what kernels of any rank found since the last check, the same on every rank; the
  /// plan is usable again. All ranks call it between the same steps. @throws Error{shape_mismatch} with the sizes
  /// required when a budget was too small, Error{desync, split_mismatch} for calls that do not match, what
  /// DevicePlanner::check() throws for routing at fault, naming the rank, and as check()
  void check(BudgetPlan const& plan, StreamView stream);
  /// Waits for the stream. @return what the last dispatch and combine sent
  [[nodiscard]] BudgetTraffic traffic(BudgetPlan const& plan, StreamView stream) const;

  /// Waits for the stream and raises what kernels found since the last check: a NaN weight of a row, naming token and
  /// slot (results of that call are NaN). @throws Error{invalid_argument}, Error{cuda}
  void check(StreamView stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
