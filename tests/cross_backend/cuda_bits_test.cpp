// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_bits: does the GPU compute the CPU's bits? Runs the naive kernels of backend_cuda over core/hd, runs
// the same work items on the CPU, and compares every byte. One line per check; exit 0 when all hold, 1 when one does
// not, 77 (skipped) without a GPU.
//
// Inputs are functions of a fixed seed and of the index (Philox), so a run is repeatable on any machine.
#include <cstdio>

#include "cuda_checks.hpp"
#include "gpu_program.hpp"
#include "switchyard/cuda/device.hpp"

namespace {

int run_all() {
  std::printf("device: %s\n", switchyard::cuda::describe_device().c_str());
  cross_backend::BitReport report;
  switchyard::cuda::Stream const stream;
  cross_backend::check_conversions(report, stream);
  cross_backend::check_rows(report, stream);
  cross_backend::check_sums(report, stream);
  cross_backend::check_digests(report, stream);
  cross_backend::check_functions(report, stream);
  cross_backend::check_captures(report, stream);
  std::printf("%d checks, %d failed\n", report.checks(), report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace

int main() {
  return cross_backend::run_gpu_program(run_all);
}
