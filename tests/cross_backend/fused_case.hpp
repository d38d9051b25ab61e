// SPDX-License-Identifier: Apache-2.0
/// FusedCase: one rank's Flex plan for the fused path, its lists and its weights on the device; and whether a machine
/// without that path will do.
#pragma once

#include <cstdlib>
#include <vector>

#include "executor_cases.hpp"
#include "switchyard/cuda/fused_executor.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace cross_backend {

/// Says where the fused path is missing. @return whether it is there @throws Error{unsupported} when it is not although
/// SWITCHYARD_REQUIRE_FUSED=1 says that all GPUs are in one NVLink domain
inline bool has_fused_path(Communicator const& comm, cuda::FusedExecutor::Attempt const& attempt) {
  if (attempt.executor != nullptr) return true;
  char const* const required = std::getenv("SWITCHYARD_REQUIRE_FUSED");
  if (required != nullptr && std::string(required) == "1")
    throw Error(ErrorCode::unsupported, "the fused path is required here, but " + attempt.reason);
  if (comm.rank().value() == 0) std::printf("fused path skipped: %s\n", attempt.reason.c_str());
  return false;
}

/// Where experts live: in blocks, or all over the ranks with replicas, an empty slot and ranks of different sizes.
enum class FusedPlaces { contiguous, scattered };

/// Every expert once in another order, a replica of some for every rank, and a slot without expert; the last rank has
/// one slot less than the others, the first one what is left.
inline ExpertPlacement scattered_experts(int experts, int ranks) {
  std::vector<ExpertId> slots;
  for (int i = 0; i < experts; ++i) slots.emplace_back((i * 7 + 3) % experts);  // 7 does not divide 16
  for (int i = 0; i < ranks; ++i) slots.emplace_back((i * 5 + 1) % experts);
  slots.emplace_back(-1);
  auto const total = static_cast<std::int32_t>(slots.size());
  std::vector<std::int32_t> counts(static_cast<std::size_t>(ranks), total / ranks);
  counts.back() -= 1;
  counts.front() += total - total / ranks * ranks + 1;
  return {1, experts, SlotLayout(counts), std::move(slots)};
}

struct FusedCase {
  static constexpr std::int64_t kHidden = 64;

  explicit FusedCase(Communicator& comm, int tokens = RecipeBatch{}.tokens,
                     FusedPlaces places = FusedPlaces::contiguous)
      : part(support::rank_batch(batch(tokens), run(comm), comm.rank().value())),
        placement(places == FusedPlaces::contiguous ? ExpertPlacement::contiguous(1, RecipeBatch{}.experts, comm.size())
                                                    : scattered_experts(RecipeBatch{}.experts, comm.size())),
        plan(support::plan_of(run(comm), comm, part.routing, placement)),
        device_plan(plan),
        weights(cuda::upload(host_weights(), cuda::Stream())) {}

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
  [[nodiscard]] std::vector<float> host_weights() const {
    return {part.routing.weights().begin(), part.routing.weights().end()};
  }
  [[nodiscard]] TensorView weight_view() const {
    return weights.view(DType::f32, {plan.num_tokens, plan.slot_columns});
  }

  support::RankBatch part;
  ExpertPlacement placement;
  DispatchPlan plan;
  cuda::DevicePlan device_plan;
  cuda::DeviceBuffer weights;
};

}  // namespace cross_backend
