// SPDX-License-Identifier: Apache-2.0
/// FusedExecutor: dispatch and combine inside an NVLink domain by stores into registered windows of the peers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/device_plan.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// Sizes of the windows; equal on all ranks.
struct FusedOptions {
  std::int64_t max_tokens = 0;     ///< of any rank in one step
  std::int64_t max_row_bytes = 0;  ///< of a token
  std::int64_t max_slots = 0;      ///< weights of a token: DispatchPlan::slot_columns
  Duration setup_deadline = std::chrono::seconds(60);
  Duration deadline = std::chrono::seconds(10);  ///< of a kernel that waits for its peers
};

/// The index lists of one plan, on the device, and the weights of its last dispatch. Made by FusedExecutor::prepare();
/// or the memory for those of plans that FusedExecutor::plan() makes in every step.
class FusedPlan {
 public:
  ~FusedPlan();
  FusedPlan(FusedPlan&&) noexcept;
  FusedPlan& operator=(FusedPlan&&) noexcept;

  /// Rows of the tensors that experts see: the plan's, or the budget of plans made in steps.
  [[nodiscard]] std::int64_t expert_rows() const noexcept;
  /// What makes the plan in steps, with its lists and numbers on the device; null for a plan made on the host.
  [[nodiscard]] DevicePlanner const* planner() const noexcept;

 private:
  friend class FusedExecutor;
  struct Lists;
  explicit FusedPlan(std::unique_ptr<Lists> lists);
  std::unique_ptr<Lists> lists_;
};

/// Flex plans without TP and the recipe rank_partial: a token is stored once per destination rank, straight into the
/// window of the receiver, which expands it; partials come back the same way. Bytes equal CudaExecutor's and the CPU's.
///
/// Calls only issue kernels to `stream`: no host synchronisation, no allocation, capturable, and a captured step may be
/// replayed. All ranks issue the same calls in the same order. Kernels compare the plan and the rows of every pair;
/// after a difference or a peer that does not come, outputs are zeros and check() raises it: the object is spent then.
/// One object belongs to one thread and uses one stream at a time. Memory: 2 x world x max_tokens rows.
class FusedExecutor {
 public:
  struct Attempt {
    std::unique_ptr<FusedExecutor> executor;  ///< null on all ranks when one of them cannot
    std::string reason;                       ///< why it is null
  };
  /// Collective. Makes an NCCL communicator of its own, so that a refusal leaves the caller's alone.
  /// @throws what `comm` throws. A missing capability is no error: the attempt says which one.
  [[nodiscard]] static Attempt create(Communicator& comm, FusedOptions const& options);
  /// Call after all ranks have finished their last step.
  ~FusedExecutor();
  FusedExecutor(FusedExecutor const&) = delete;
  FusedExecutor& operator=(FusedExecutor const&) = delete;

  /// @return why this plan cannot run here, or an empty text. Depends on what ranks share, but for the token limit.
  [[nodiscard]] std::string refusal(DispatchPlan const& plan) const;
  /// O(plan size), allocates. @throws Error{unsupported} with the refusal.
  [[nodiscard]] FusedPlan prepare(DevicePlan const& plan) const;
  /// The same for plans that plan() makes: Flex without TP, weights for every column. Ranks of `placement` are those of
  /// the group. Allocates for config.max_tokens and config.max_expert_rows.
  /// @throws Error{unsupported} when the windows are too small, and as DevicePlanner's constructor
  [[nodiscard]] FusedPlan prepare(DevicePlannerConfig const& config, ExpertPlacement const& placement, int layer) const;
  /// Makes the plan of a step from routing on the device: announcements travel through the windows, so that the step
  /// needs neither the host nor another communicator. The next dispatch() and combine() carry routing.tokens tokens and
  /// use tensors of plan.expert_rows() rows, of which the first lists().numbers->expert_rows are written. Routing at
  /// fault, or more rows than the budget, fails the operation on all ranks: see check(plan, stream).
  /// @throws as DevicePlanner::assign(); Error{invalid_argument} for a plan made on the host
  void plan(FusedPlan& plan, DeviceRouting const& routing, StreamView stream);

  /// Brings tokens and their weights to the experts. @param tokens [T, H] @param weights [T, slot_columns] f32, kept
  /// for the plan's next combine @param rows [plan.num_expert_rows(), H] of the tokens' dtype. Device memory, 16-byte
  /// aligned. @throws Error{shape_mismatch, unsupported, cuda}
  void dispatch(FusedPlan& plan, ConstTensorView tokens, ConstTensorView weights, TensorView rows, StreamView stream);
  /// Recipe rank_partial with the weights of the last dispatch. @param expert_rows [plan.num_expert_rows(), H] of out's
  /// dtype @param out [T, H] @throws as dispatch()
  void combine(FusedPlan const& plan, ConstTensorView expert_rows, TensorView out, StreamView stream);

  /// Waits for the stream and raises what kernels found. @throws Error{timeout, desync, split_mismatch, cuda}
  void check(StreamView stream);
  /// The same, and before it what this rank's planner found: what is wrong with the routing, or the size required.
  void check(FusedPlan const& plan, StreamView stream);

 private:
  struct State;
  explicit FusedExecutor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
