// SPDX-License-Identifier: Apache-2.0
#include "bench/gpu_bench.hpp"
#include "fast_bench.hpp"
#include "gpu_benches.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/system.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cli {
namespace {

void run_experts(std::string const& engine, gpu_bench::Results& results, gpu_bench::KernelTimer& timer) {
  if (engine != "fast") gpu_bench::bench_experts(results, timer);
  if (engine == "exact") return;
  if (engine == "all" && !gpu_bench::has_fast_experts())
    return results.note("fast engine: left out, cuBLAS was not found when this build was configured");
  gpu_bench::bench_fast_experts(results, timer);
}

/// A benchmark of one GPU by its name; the planner's kernels find their lists where the step before left them.
void run_one_gpu(GpuBench const& bench, gpu_bench::Results& results) {
  std::string const& what = bench.what;
  gpu_bench::KernelTimer timer(what == "plan" ? gpu_bench::CacheState::warm : gpu_bench::CacheState::cold);
  if (what == "kernels") return gpu_bench::bench_kernels(results, timer);
  if (what == "plan") return gpu_bench::bench_planner(results, timer);
  if (what == "router") return gpu_bench::bench_router(results, timer);
  run_experts(bench.engine, results, timer);
}

void run_between_gpus(GpuBench const& bench, gpu_bench::Results& results) {
  auto const& tokens = bench.tokens;
  bool const own = tokens.empty();
  results.add_text("nccl", gpu_bench::describe_ranks());
  if (bench.what == "fused")
    return own ? gpu_bench::bench_fused_steps(results, bench.gpus)
               : gpu_bench::bench_fused_steps(results, bench.gpus, tokens);
  if (bench.what == "budget")
    return own ? gpu_bench::bench_budget_steps(results, bench.gpus)
               : gpu_bench::bench_budget_steps(results, bench.gpus, tokens);
  own ? gpu_bench::bench_ranks(results, bench.gpus) : gpu_bench::bench_ranks(results, bench.gpus, tokens);
}

gpu_bench::Echo echo_of(bool lines) {
  return lines ? gpu_bench::Echo::lines : gpu_bench::Echo::none;
}

}  // namespace

int gpus_for(int wanted) {
  int const there = cuda::device_count();
  SWITCHYARD_REQUIRE(
      there > 0, cuda,
      "no usable GPU on this machine: see 'switchyard doctor'; 'bench alltoallv --backend cpu' needs none");
  SWITCHYARD_REQUIRE(wanted <= there, cuda,
                     "--gpus {}: this process sees {}: ask for fewer, or see 'switchyard doctor'", wanted, there);
  return wanted == 0 ? there : wanted;
}

GpuRecords run_gpu_bench(GpuBench const& bench) {
  gpu_bench::Results results("", echo_of(bench.lines));
  results.add_text("device", cuda::describe_device());
  if (bench.what == "dispatch" || bench.what == "fused" || bench.what == "budget") {
    run_between_gpus(bench, results);
  } else {
    run_one_gpu(bench, results);
  }
  return {results.records(), results.json_lines()};
}

bench::AllToAllTable bench_alltoallv_gpu(bench::AllToAllBench const& bench, bool lines) {
  return gpu_bench::bench_alltoallv(bench, echo_of(lines));
}

}  // namespace switchyard::cli
