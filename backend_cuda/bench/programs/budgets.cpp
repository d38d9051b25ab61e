// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_budgets <out.json> [ranks]: bench_budget_steps() as a program; default 2.
#include "bench_program.hpp"
#include "gpu_benches.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_rank_program(argc, argv, [](char const* path, int ranks) {
    gpu_bench::Results results(path);
    results.add_text("device", switchyard::cuda::describe_device());
    results.add_text("nccl", gpu_bench::describe_ranks());
    gpu_bench::bench_budget_steps(results, ranks);
    return gpu_bench::finish(results, path);
  });
}
