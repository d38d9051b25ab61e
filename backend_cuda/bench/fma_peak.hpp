// SPDX-License-Identifier: Apache-2.0
/// Chains of fp32 fused multiply-adds that wait for nothing: the rate that the exact expert engine is measured against.
#pragma once

#include "switchyard/cuda/stream.hpp"

namespace gpu_bench {

/// @param sink [1] device memory, written only if a sum is negative, which none is
/// @return fused multiply-adds that the launch computes
double launch_fma_peak(float* sink, switchyard::cuda::StreamView stream);

}  // namespace gpu_bench
