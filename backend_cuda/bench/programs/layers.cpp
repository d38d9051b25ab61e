// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_layers <out.json> [ranks]: bench_layers() as a program; default 2.
#include "bench_program.hpp"
#include "fast_bench.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_rank_results(
      argc, argv, [](gpu_bench::Results& results, int ranks) { gpu_bench::bench_layers(results, ranks); });
}
