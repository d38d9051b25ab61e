// SPDX-License-Identifier: Apache-2.0
// switchyard_nccl_budget: one rank in one process, started as switchyard_nccl_ranks: steps over slots of fixed size
// through NCCL give the CPU's bytes, fail alike on all ranks, and run as one graph whose replays follow the routing
// that they find. SWITCHYARD_CASES=n takes few cases, for slow tools. With a fault as in rank_faults.hpp (phases slots
// and replay) the other ranks end by themselves. Exit 0 when all is so, 1 when not, 77 without a GPU.
//
// By hand: cuda_budget_test.cpp.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>

#include "budget_replay.hpp"
#include "few_cases.hpp"
#include "gpu_program.hpp"
#include "rank_faults.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace cross_backend {
namespace {

int run_rank() {
  auto const config = launch::launch_config({}, launch::launch_environment());
  if (cudaSetDevice(config.local_rank % cuda::device_count()) != cudaSuccess)
    throw Error(ErrorCode::cuda, "the device of this rank cannot be used");
  auto group = launch::join_group(config, cuda::make_nccl_id, std::chrono::seconds(60));
  auto handle =
      cuda::NcclHandle::create(group.client->blob(), config.rank, config.world_size, std::chrono::seconds(60));
  auto const fault = asked_fault();
  cuda::NcclOptions off = fault ? options_under(*fault) : cuda::NcclOptions{};
  off.check = CheckLevel::off;
  cuda::NcclCommunicator unchecked(handle.share(), *group.client, off);
  cuda::NcclCommunicator comm(std::move(handle), *group.client, fault ? options_under(*fault) : cuda::NcclOptions{});
  if (fault)
    return survive_in(comm, *fault, [&] {
      step_forever(comm, unchecked, fault->phase == "replay", [&](int step) { fault->strike(comm, step); });
    });
  PairReport report;
  try {
    if (!takes_few_cases()) compare_budgets(report, comm, comm, {8, 36});
    compare_budgets(report, comm, unchecked, {5});
    if (comm.size() % 2 == 0) compare_budgets(report, comm, unchecked, {8}, 2);
    compare_bins(report, comm, unchecked);
    refuse_all(report, comm, unchecked);
    refuse_other_calls(report, comm, unchecked);
    replay_all(report, comm, unchecked);
  } catch (std::exception const& error) {
    comm.fail(error.what());
    throw;
  }
  std::printf("rank %d of %d: %ld comparisons of %zu values, %d failed\n", config.rank, config.world_size,
              report.comparisons(), report.values(), report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_rank);
}
