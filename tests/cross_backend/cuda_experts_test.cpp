// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_experts: do quantisers, experts and whole layers give the CPU's bytes on the GPU? SWITCHYARD_CASES=n
// takes few cases, for slow tools. Exit 0 when all bytes are equal, 1 when one is not, 77 without a GPU.
//
// By hand: values (0.5, -448) in one fp8_group: scale 448/448 = 1, codes 0x30 and 0xfe.
#include <cstdio>
#include <cstdlib>

#include "cuda_experts_checks.hpp"
#include "gpu_program.hpp"
#include "support/nvtx_listener.hpp"
#include "switchyard/cuda/device.hpp"

namespace {

int run_all() {
  std::printf("device: %s\n", switchyard::cuda::describe_device().c_str());
  bool const listens = support::listen_to_ranges();
  cross_backend::BitReport report;
  bool const few = std::getenv("SWITCHYARD_CASES") != nullptr;
  switchyard::cuda::Stream const stream;
  cross_backend::check_quantizers(report, stream, few);
  cross_backend::check_engine(report, stream, few);
  cross_backend::check_engine_gradients(report, stream, few);
  cross_backend::check_layers(report, few);
  if (few && listens) std::printf("ranges: passed over, a tool may listen in our place\n");
  for (char const* const range : {"+exact experts;", "+exact experts backward;"})
    if (listens && !few)
      report.state(support::ranges_seen().find(range) != std::string::npos, std::string("no range ") + range);
  std::printf("%d checks, %d failed\n", report.checks(), report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace

int main() {
  return cross_backend::run_gpu_program(run_all);
}
