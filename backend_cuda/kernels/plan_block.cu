// SPDX-License-Identifier: Apache-2.0
// The plan of a small Flex batch whose announcements lie in memory: one kernel of one block.
#include "cuda_error.hpp"
#include "plan_block.cuh"
#include "plan_block_lists.cuh"
#include "plan_launch.cuh"

namespace switchyard::cuda {

namespace {

struct PlanBlockParams {
  PlanBlockShape shape;
  PlanSorts sorts;
  PlanFinish finish;
};

/// All lanes of a warp: takes its choices from the announcement of their source.
__device__ void read_announced(BlockPlan& plan, PlanBlockPart const& part, PlanFinish const& finish,
                               PlanBlockShape const& shape) {
  if (part.source >= shape.ranks) return;
  bool const is_there = is_announced(finish.blocks, part.source);
  std::int64_t const count = tokens_of(finish.blocks, part.source) * shape.columns;
  std::int32_t const* const slots = slots_of(finish.blocks, part.source);
  for (std::int32_t i = part.begin + lane_of_thread(); i < part.end; i += kWarp)
    plan.put(part, i, !is_there ? kNoSource : i < count ? slots[i] : kNoToken);
}

__global__ void __launch_bounds__(kPlanBlockThreads) plan_block_kernel(PlanBlockParams const params) {
  extern __shared__ uint4 plan_block_shared[];
  PlanBlockTables const tables(params.shape, params.finish, plan_block_shared);
  BlockPlan plan(tables, params.sorts, params.finish);
  plan.clear();
  PlanBlockPart const part = tables.part();
  read_announced(plan, part, params.finish, params.shape);
  plan.count(part);
  __syncthreads();
  BlockPlanLists(tables, params.sorts, params.finish).write(plan.sum(), [](std::int32_t, std::int32_t, std::int32_t) {
  });
}

}  // namespace

void prepare_plan_block() {
  SWITCHYARD_CUDA_TRY(cudaFuncSetAttribute(reinterpret_cast<void const*>(&plan_block_kernel),
                                           cudaFuncAttributeMaxDynamicSharedMemorySize, kPlanSharedBytes));
}

void launch_plan_block(PlanBlockShape const& shape, PlanSorts const& sorts, PlanFinish const& finish,
                       StreamView stream) {
  plan_block_kernel<<<1, kPlanBlockThreads, plan_block_bytes(shape), stream.handle()>>>({shape, sorts, finish});
  check_launch("plan_block_kernel");
}

}  // namespace switchyard::cuda
