// SPDX-License-Identifier: Apache-2.0
/// The benchmark of the fast expert engine, which a build without cuBLAS has not. Needs no CUDA header.
#pragma once

#include <cstdint>
#include <vector>

#include "bench_json.hpp"
#include "kernel_timer.hpp"

namespace gpu_bench {

[[nodiscard]] bool has_fast_experts() noexcept;
/// The engine whole and in parts, forward, backward and with e4m3 codes, beside its floor: multiply-adds at the rate of
/// one product of 8192^3 of the same type, or weights, inputs and results at the rate of a device copy, whichever takes
/// longer, both measured in the same run. "GB/s" of products are 10^9 multiply-adds a second.
/// @throws Error{unsupported} in a build without cuBLAS, or where the library is not found
void bench_fast_experts(Results& results, KernelTimer& timer);

/// Whole layers between ranks, micro-batches one after the other and overlapped, beside their experts alone. Where this
/// build has cuBLAS and NCCL. @throws as bench_ranks()
void bench_layers(Results& results, int ranks, std::vector<std::int64_t> const& tokens = {512, 2048, 4096});

}  // namespace gpu_bench
