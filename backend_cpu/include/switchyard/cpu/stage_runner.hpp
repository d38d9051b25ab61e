// SPDX-License-Identifier: Apache-2.0
/// StageRunner: one stage of a plan alone, forward or backward, for pipelines that interleave stages with other work
/// and for tests that look between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cpu {

/// Which of a plan's two lists of stages.
enum class StageList : std::uint8_t {
  stages,      ///< what a dispatch runs
  row_return,  ///< DispatchPlan::row_return; AllGather and Flex only
};

/// Names a stage of a plan.
struct StageIndex {
  StageList list = StageList::stages;
  std::size_t position = 0;
};

/// Runs single stages; the lists of the plan say everything, forward and backward, and nothing is computed from the
/// routing again. All stages of `stages` in order are CpuExecutor::dispatch().
///
/// Rows are f32, bf16 or f16, contiguous, on the host. Stages that exchange rows are collective: all ranks run the same
/// one. Results do not depend on the worker count or the scheduler.
class StageRunner {
 public:
  /// @param comm must outlive the runner; its size must be the plans' world.
  explicit StageRunner(Communicator& comm);
  ~StageRunner();
  StageRunner(StageRunner&&) noexcept;
  StageRunner& operator=(StageRunner&&) noexcept;

  /// @param in [input_rows(stage), H] @param out [output_rows(stage), H] of the same dtype, written completely; an
  /// empty bin becomes zeros.
  /// @throws Error{invalid_argument} for a stage that the plan does not have, or a plan of another rank or world;
  ///         Error{shape_mismatch} for other sizes or dtypes; Error{desync}, Error{split_mismatch} as CpuExecutor.
  void forward(DispatchPlan const& plan, StageIndex stage, ConstTensorView in, TensorView out,
               std::optional<Duration> deadline = {});

  /// The gradient of forward(): the transposed map. Moves keep bits; where a stage copied a row several times, the
  /// copies' gradients are added in fp32 from +0 and rounded once to the row dtype:
  /// - the source's permutation and an expansion (AllGather, Flex): in the order of RowGather::rows_of_token;
  /// - a gather over TP ranks, hidden shards: over the fixed binary tree (hd/tree_sum.hpp);
  /// - a gather over the world: ranks ascending.
  /// MegaBlocks' sorts and bins move: an input that no bin holds gets zeros, what stands in empty bins is not read.
  /// @param out_gradients [output_rows(stage), H] @param in_gradients [input_rows(stage), H], written completely
  /// @throws as forward().
  void backward(DispatchPlan const& plan, StageIndex stage, ConstTensorView out_gradients, TensorView in_gradients,
                std::optional<Duration> deadline = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cpu
