// SPDX-License-Identifier: Apache-2.0
// The kernel that plans a small step.
#include "cuda_error.hpp"
#include "fused_block_step.cuh"
#include "fused_grid.hpp"
#include "plan_launch.cuh"

namespace switchyard::cuda {

namespace {

__global__ void __launch_bounds__(kPlanBlockThreads)
    fused_plan_block_kernel(__grid_constant__ FusedPlanBlockParams const params) {
  extern __shared__ uint4 fused_plan_shared[];
  __shared__ StepTables step;
  plan_step(params, fused_plan_shared, step);
}

}  // namespace

void load_fused_plan_block() {
  load_kernel(reinterpret_cast<void const*>(&fused_plan_block_kernel));
  SWITCHYARD_CUDA_TRY(cudaFuncSetAttribute(reinterpret_cast<void const*>(&fused_plan_block_kernel),
                                           cudaFuncAttributeMaxDynamicSharedMemorySize, kPlanSharedBytes));
}

void launch_fused_plan_block(FusedPlanBlockParams const& params, StreamView stream) {
  launch_close("fused_plan_block_kernel", &fused_plan_block_kernel, dim3(1), dim3(kPlanBlockThreads),
               plan_block_bytes(params.shape), stream, params);
}

}  // namespace switchyard::cuda
