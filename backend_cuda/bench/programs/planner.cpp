// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_planner <out.json>: bench_planner() as a program.
#include "bench_program.hpp"
#include "gpu_benches.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_kernel_program(argc, argv, gpu_bench::bench_planner, gpu_bench::CacheState::warm);
}
