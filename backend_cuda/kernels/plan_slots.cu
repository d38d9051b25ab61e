// SPDX-License-Identifier: Apache-2.0
// Routing to physical slots, one thread per choice. A choice at fault sets the error word and counts as dropped.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "plan_error.cuh"
#include "plan_tile.cuh"

namespace switchyard::cuda {

namespace {

/// The expert of a flat choice, -1 = none.
__device__ std::int32_t expert_of(PlanSlotsParams const& params, std::int64_t flat) {
  if (params.ids != nullptr) return params.ids[flat];
  return params.map[flat] != 0 ? static_cast<std::int32_t>(flat % params.columns) : -1;
}

/// Choices of the expert between the start of the flat choice's block and itself.
__device__ std::int64_t earlier_in_block(PlanSlotsParams const& params, std::int64_t flat, std::int32_t expert) {
  std::int64_t count = 0;
  for (std::int64_t other = flat / hd::kReplicaBlockChoices * hd::kReplicaBlockChoices; other < flat; ++other)
    if (expert_of(params, other) == expert) ++count;
  return count;
}

__device__ std::int32_t slot_of(PlanSlotsParams const& params, std::int64_t flat, std::int32_t expert) {
  if (expert < 0 || expert >= params.experts) {
    if (expert != -1) raise_choice_error(params.error, PlanError::bad_id, flat);
    return -1;
  }
  if (params.weights != nullptr) {
    float const weight = params.weights[flat];
    if (isnan(weight)) raise_choice_error(params.error, PlanError::bad_weight, flat);
    if (params.drops_zero_weights && weight == 0.0F) return -1;
  }
  std::int32_t const first = params.replica_begin[expert];
  std::int64_t const count = params.replica_begin[expert + 1] - first;
  if (count == 0) {
    raise_choice_error(params.error, PlanError::lost_expert, flat);
    return -1;
  }
  if (count == 1) return params.replica_slots[first];
  std::int64_t known = 0;
  if (params.fixed != nullptr) known = params.fixed[expert];
  if (params.context.rule == ReplicaRule::tensorrt_llm) known = earlier_in_block(params, flat, expert);
  return params.replica_slots[first + hd::replica_index(params.context, flat / params.columns, flat % params.columns,
                                                        count, known)];
}

__global__ void plan_slots_kernel(PlanSlotsParams params) {
  if (first_item() == 0) *params.header = {params.tokens, params.error[1] == 0 ? params.configuration : 0};
  for (std::int64_t flat = first_item(); flat < params.tokens * params.columns; flat += item_stride())
    params.slots[flat] = slot_of(params, flat, expert_of(params, flat));
}

}  // namespace

void prepare_plan_slots() {
  load_plan_kernel(reinterpret_cast<void const*>(&plan_slots_kernel));
}

void launch_plan_slots(PlanSlotsParams const& params, StreamView stream) {
  std::int64_t const choices = params.tokens * params.columns;
  plan_slots_kernel<<<grid_blocks(choices > 0 ? choices : 1), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("plan_slots_kernel");
}

}  // namespace switchyard::cuda
