// SPDX-License-Identifier: Apache-2.0
// Routing to physical slots, one thread per choice.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "plan_slot.cuh"
#include "plan_tile.cuh"

namespace switchyard::cuda {

namespace {

__global__ void plan_slots_kernel(__grid_constant__ PlanSlotsParams const params) {
  if (first_item() == 0) *params.header = {params.tokens, params.error[1] == 0 ? params.configuration : 0};
  for (std::int64_t flat = first_item(); flat < params.tokens * params.columns; flat += item_stride())
    params.slots[flat] = slot_of(params, flat, expert_of(params, flat), [](std::int32_t) { return -1; });
}

}  // namespace

void prepare_plan_slots() {
  load_plan_kernel(reinterpret_cast<void const*>(&plan_slots_kernel));
}

void launch_plan_slots(PlanSlotsParams const& params, StreamView stream) {
  std::int64_t const choices = params.tokens * params.columns;
  plan_slots_kernel<<<grid_blocks(choices), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("plan_slots_kernel");
}

}  // namespace switchyard::cuda
