// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_router <out.json>: bench_router() as a program.
#include "bench_program.hpp"
#include "gpu_benches.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_kernel_program(argc, argv, gpu_bench::bench_router);
}
