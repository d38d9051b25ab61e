// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_ranks <out.json> [ranks]: bench_ranks() as a program; default 2.
#include "bench_program.hpp"
#include "gpu_benches.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_rank_program(argc, argv, [](char const* path, int ranks) {
    gpu_bench::Results results(path);
    results.add_text("device", switchyard::cuda::describe_device());
    results.add_text("nccl", gpu_bench::describe_ranks());
    gpu_bench::bench_ranks(results, ranks);
    return gpu_bench::finish(results, path);
  });
}
