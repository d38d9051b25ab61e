// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include "fma_peak.hpp"

namespace gpu_bench {

namespace {

constexpr int kThreads = 1024;
constexpr int kBlocks = 132 * 8;
constexpr int kChains = 16;
constexpr int kSteps = 4096;

__global__ void fma_peak_kernel(float* sink) {
  float sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = static_cast<float>(threadIdx.x + static_cast<unsigned>(i));
  float const factor = 0.5f;
  float const addend = static_cast<float>(blockIdx.x);
#pragma unroll 4
  for (int step = 0; step < kSteps; ++step)
#pragma unroll
    for (int i = 0; i < kChains; ++i) sums[i] = __fmaf_rn(sums[i], factor, addend);
  float total = 0.0f;
  for (int i = 0; i < kChains; ++i) total = __fadd_rn(total, sums[i]);
  if (total < 0.0f) *sink = total;
}

}  // namespace

double launch_fma_peak(float* sink, switchyard::cuda::StreamView stream) {
  fma_peak_kernel<<<kBlocks, kThreads, 0, stream.handle()>>>(sink);
  return static_cast<double>(kBlocks) * kThreads * kChains * kSteps;
}

}  // namespace gpu_bench
