// SPDX-License-Identifier: Apache-2.0
/// FusedCase: one rank's Flex plan for the fused path, its lists and its weights on the device.
#pragma once

#include <vector>

#include "executor_cases.hpp"
#include "switchyard/cuda/fused_executor.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace cross_backend {

struct FusedCase {
  static constexpr std::int64_t kHidden = 64;

  explicit FusedCase(Communicator& comm, int tokens = RecipeBatch{}.tokens)
      : part(support::rank_batch(batch(tokens), run(comm), comm.rank().value())),
        plan(support::plan_of(run(comm), comm, part.routing,
                              ExpertPlacement::contiguous(1, batch(tokens).experts, comm.size()))),
        device_plan(plan),
        weights(cuda::upload(std::vector<float>(part.routing.weights().begin(), part.routing.weights().end()),
                             cuda::Stream())) {}

  static RecipeBatch batch(int tokens) {
    RecipeBatch batch;
    batch.seed = 90;
    batch.tokens = tokens;
    batch.hidden = kHidden;
    return batch;
  }
  static RecipeRun run(Communicator const& comm) {
    RecipeRun run;
    run.grid = {1, comm.size()};
    run.dispatcher = Dispatcher::flex;
    return run;
  }
  [[nodiscard]] TensorView weight_view() const {
    return weights.view(DType::f32, {plan.num_tokens, plan.slot_columns});
  }

  support::RankBatch part;
  DispatchPlan plan;
  cuda::DevicePlan device_plan;
  cuda::DeviceBuffer weights;
};

}  // namespace cross_backend
