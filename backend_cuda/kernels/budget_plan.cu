// SPDX-License-Identifier: Apache-2.0
// What the path with slots of fixed size adds to a plan on the device: one block finds the rows needed and the chunks.
#include "budget_agreement.cuh"
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "plan_scan.cuh"

namespace switchyard::cuda {

namespace {

struct PlanMemory {
  PlanScan::TempStorage scan;
  unsigned long long needs[2];
  unsigned long long arriving[2];
};

__device__ std::int64_t rows_of_chunk(BudgetPlanParams const& params, std::int32_t source, std::int32_t local) {
  return params.lists.chunk_sizes[params.chunk_of[source] * params.num_local + local];
}

/// Chunks of (expert, source) one behind the other.
__device__ void begin_rows(BudgetPlanParams const& params, PlanMemory& memory) {
  std::int64_t const chunks = std::int64_t{params.num_local} * params.world;
  scan_items(memory.scan, chunks, params.row_begin, [&](std::int64_t chunk) {
    auto const local = static_cast<std::int32_t>(chunk / params.world);
    return rows_of_chunk(params, params.source_at[chunk % params.world], local);
  });
}

/// Chunks of every source one behind the other.
__device__ void begin_slots(BudgetPlanParams const& params) {
  for (auto source = static_cast<std::int32_t>(threadIdx.x); source < params.world; source += kBlockThreads) {
    std::int64_t* const begin = params.slot_begin + static_cast<std::int64_t>(source) * (params.num_local + 1);
    std::int64_t before = 0;
    for (std::int32_t local = 0; local < params.num_local; ++local) {
      begin[local] = before;
      before += rows_of_chunk(params, source, local);
    }
    begin[params.num_local] = before;
  }
}

__device__ void find_needs(BudgetPlanParams const& params, PlanMemory& memory) {
  if (threadIdx.x < 2) memory.needs[threadIdx.x] = memory.arriving[threadIdx.x] = 0;
  __syncthreads();
  DevicePlanLists const& lists = params.lists;
  for (auto rank = static_cast<std::int32_t>(threadIdx.x); rank < params.world; rank += kBlockThreads) {
    atomicMax(&memory.needs[0], static_cast<unsigned long long>(lists.lane_send[rank]));
    atomicMax(&memory.arriving[0], static_cast<unsigned long long>(params.arrived[rank]));
    if (params.carried_sent == nullptr) continue;
    atomicMax(&memory.needs[1], static_cast<unsigned long long>(params.carried_sent[rank]));
    atomicMax(&memory.arriving[1], static_cast<unsigned long long>(params.carried_received[rank]));
  }
  __syncthreads();
}

/// One thread.
__device__ void judge_plan(BudgetPlanParams const& params, PlanMemory const& memory) {
  BudgetState* const state = params.state;
  std::int64_t const slots[] = {params.single_slot_rows, params.carried_slot_rows};
  unsigned long long error = *params.plan_error;
  bool overflows = (error >> kPlanErrorShift) == static_cast<std::uint64_t>(PlanError::overflow);
  for (int i = 0; i < 2; ++i) {
    if (slots[i] == 0) continue;
    auto const room = static_cast<unsigned long long>(slots[i]);
    if (memory.needs[i] > room && error == 0)
      error = budget_error(BudgetError::full_slot, static_cast<std::int64_t>(memory.needs[i]));
    overflows = overflows || memory.needs[i] > room || memory.arriving[i] > room;
  }
  state->local_error = error;
  state->local_needs = {slots[0] == 0 ? 0 : static_cast<std::int64_t>(memory.needs[0]),
                        slots[1] == 0 ? 0 : static_cast<std::int64_t>(memory.needs[1]),
                        params.lists.numbers->expert_rows};
  state->lists_overflow = overflows ? 1 : 0;
}

__global__ void budget_plan_kernel(BudgetPlanParams params) {
  __shared__ PlanMemory memory;
  begin_rows(params, memory);
  begin_slots(params);
  find_needs(params, memory);
  if (threadIdx.x == 0) judge_plan(params, memory);
}

__global__ void budget_gather_kernel(BudgetGatherParams params) {
  std::int64_t const tokens = params.lists.numbers->tokens;
  for (std::int64_t i = first_item(); i < tokens * params.world; i += item_stride()) {
    params.token_of_row[i] = i % tokens;
    params.rows_of_token[i] = i % params.world * tokens + i / params.world;
  }
  for (std::int64_t i = first_item(); i <= tokens; i += item_stride()) params.row_begin[i] = i * params.world;
  for (std::int64_t i = first_item(); i < params.world; i += item_stride()) params.sent_rows[i] = tokens;
}

}  // namespace

void launch_budget_plan(BudgetPlanParams const& params, StreamView stream) {
  budget_plan_kernel<<<1, kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("budget_plan_kernel");
}

void launch_budget_gather(BudgetGatherParams const& params, StreamView stream) {
  std::int64_t const rows = params.world * (params.tokens + 1);
  budget_gather_kernel<<<grid_blocks(rows), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("budget_gather_kernel");
}

}  // namespace switchyard::cuda
