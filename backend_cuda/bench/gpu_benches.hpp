// SPDX-License-Identifier: Apache-2.0
/// The GPU benchmarks, as programs of their own and `switchyard bench --backend cuda` run them. Needs no CUDA header.
#pragma once

#include <string>

#include "alltoallv_table.hpp"
#include "bench_json.hpp"
#include "kernel_timer.hpp"

namespace gpu_bench {

/// The row kernels of one GPU at hidden 7168 in bf16, beside the bandwidth of a device copy measured in the same run.
/// Bytes: each source row once plus the rows written.
void bench_kernels(Results& results, KernelTimer& timer);
/// The device planner of rank 0 without the exchange of announcements, launched kernel by kernel and as a replay of a
/// captured graph. For a timer whose cache is warm.
void bench_planner(Results& results, KernelTimer& timer);
/// The router, forward and backward, beside a device copy.
void bench_router(Results& results, KernelTimer& timer);
/// Quantisers beside a device copy, and the exact expert engine beside chains of fused multiply-adds.
void bench_experts(Results& results, KernelTimer& timer);

/// What ranks exchange with: NCCL's versions. @throws Error{unsupported} in a build without NCCL
[[nodiscard]] std::string describe_ranks();
/// Dispatch and combine over NCCL and by the fused path, stage by stage and together; one process, one thread and one
/// GPU per rank. @throws Error{cuda} naming what every rank threw; Error{unsupported} in a build without NCCL
void bench_ranks(Results& results, int ranks, std::vector<std::int64_t> const& tokens = {128, 4096, 8192});
/// The fused path with a ready plan and with one made in the step, launched, in a row and as replays of a graph, from
/// one token on. @throws as bench_ranks()
void bench_fused_steps(Results& results, int ranks,
                       std::vector<std::int64_t> const& tokens = {1, 8, 32, 128, 512, 4096});
/// Steps over slots of fixed size, whose counts the host does not know, and steps whose splits it reads. @throws as
/// bench_ranks()
void bench_budget_steps(Results& results, int ranks, std::vector<std::int64_t> const& tokens = {128, 4096});
/// Bare all-to-alls over NCCL, as the simulator's validation reads them, each beside copies of the same messages by the
/// device itself. @param echo whether every case becomes a line on stdout. @throws as bench_ranks()
[[nodiscard]] switchyard::bench::AllToAllTable bench_alltoallv(switchyard::bench::AllToAllBench const& sizes,
                                                               Echo echo);

/// Who starts the exchanges of a burst: the host one by one, or a graph, where a host would be slower than GPUs.
enum class Issue { host, graph };
/// Samples for the simulator's costs: every pattern and the two parts of the uniform one, from 4 KiB to 256 MiB of a
/// sending rank. @throws as bench_ranks()
[[nodiscard]] switchyard::bench::AllToAllTable bench_exchanges(int ranks, Issue issue, Echo echo);

}  // namespace gpu_bench
