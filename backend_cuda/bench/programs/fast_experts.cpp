// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_fast_experts <out.json>: bench_fast_experts() as a program.
#include "bench_program.hpp"
#include "fast_bench.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_kernel_program(argc, argv, gpu_bench::bench_fast_experts);
}
