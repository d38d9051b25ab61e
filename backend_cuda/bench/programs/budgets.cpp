// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_budgets <out.json> [ranks]: bench_budget_steps() as a program; default 2.
#include "bench_program.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_rank_results(
      argc, argv, [](gpu_bench::Results& results, int ranks) { gpu_bench::bench_budget_steps(results, ranks); });
}
