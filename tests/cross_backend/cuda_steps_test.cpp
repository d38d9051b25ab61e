// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_steps: StepExecutor's paths give the CPU's bytes, and the best one that all ranks can run is taken,
// on ranks that are threads and share one GPU: no windows there, so that the fused path is refused by name everywhere.
// switchyard_nccl_ranks runs the same cases on a GPU per rank. SWITCHYARD_CASES=n takes few cases, for slow tools. Exit
// 0 when all is so, 1 when not, 77 without a GPU.
//
// By hand: Flex, rank_partial, planned on the device, 2 ranks of one GPU: fused is refused (NCCL wants a GPU per rank),
// slots are taken. The same planned on the host: slots are refused too, exact is taken.
#include <cuda_runtime_api.h>

#include <cstdio>

#include "few_cases.hpp"
#include "gpu_program.hpp"
#include "step_paths.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace cross_backend {
namespace {

int run_all() {
  bool const few = takes_few_cases();
  std::printf("device: %s\n", cuda::describe_device().c_str());
  PairReport report;
  auto const scheduler = cpu::make_thread_scheduler();
  for (int const ranks : {1, 2, 3}) {
    if (few && ranks != 2) continue;
    try {
      cpu::run_ranks(*scheduler, ranks, {}, [&](Communicator& comm) {
        cuda::HostStagedCommunicator device_comm(comm);
        compare_step_paths(report, comm, device_comm, few);
      });
    } catch (std::exception const& error) {
      report.failed(std::to_string(ranks) + " ranks: " + error.what());
    }
  }
  std::printf("%ld comparisons of %zu values, %d failed\n", report.comparisons(), report.values(), report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
