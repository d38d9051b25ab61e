// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_ranks <out.json> [ranks]: bench_ranks() as a program; default 2.
#include "bench_program.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_rank_results(
      argc, argv, [](gpu_bench::Results& results, int ranks) { gpu_bench::bench_ranks(results, ranks); });
}
