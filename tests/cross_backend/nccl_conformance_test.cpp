// SPDX-License-Identifier: Apache-2.0
// The communicator conformance suite on NCCL: one process, a thread and a GPU per rank; 1 rank, 2, and as many as there
// are GPUs up to the number in SWITCHYARD_GPUS (default 2). Exit 77 (skipped) without a GPU.
#define DOCTEST_CONFIG_IMPLEMENT
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "conformance/communicator_conformance.hpp"
#include "support/rank_harness_nccl.hpp"
#include "switchyard/cuda/device.hpp"

namespace switchyard::test {
namespace {

std::set<int> group_sizes() {
  char const* const wanted = std::getenv("SWITCHYARD_GPUS");
  int const limit = wanted != nullptr ? std::atoi(wanted) : 2;
  int const most = std::min(limit, cuda::device_count());
  return {1, std::min(2, most), most};
}

TEST_CASE("NcclCommunicator conforms at every check level") {
  NcclHarness harness;
  for (int const ranks : group_sizes())
    for (CheckLevel check : {CheckLevel::digest, CheckLevel::full, CheckLevel::off}) {
      std::printf("conformance: %d ranks, check level %d\n", ranks, static_cast<int>(check));
      std::fflush(stdout);
      check_communicator(harness, ranks, check);
    }
}

}  // namespace
}  // namespace switchyard::test

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  if (switchyard::cuda::device_count() == 0) {
    std::printf("skipped: no CUDA device on this machine\n");
    return kSkipped;
  }
  std::printf("%s, %s, %d devices\n", switchyard::cuda::describe_nccl().c_str(),
              switchyard::cuda::describe_device().c_str(), switchyard::cuda::device_count());
  return doctest::Context(argc, argv).run();
}
