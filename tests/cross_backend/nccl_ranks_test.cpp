// SPDX-License-Identifier: Apache-2.0
// switchyard_nccl_ranks: one rank in one process. Started once per rank (torchrun, srun, mpirun, a shell loop with
// RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT): joins the group, moves ragged messages with provenance over host
// memory, then compares CpuExecutor and CudaExecutor over NCCL byte by byte. Exit 0 when all is equal, 1 when not, 77
// without a GPU. With SWITCHYARD_DIE_AT=<rank> that rank raises SIGKILL in the middle; the others must end with a typed
// error.
#include <cuda_runtime_api.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "conformance/ragged_calls.hpp"
#include "executor_cases.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace cross_backend {
namespace {

void move_messages(Communicator& comm) {
  for (int call = 0; call < 40; ++call) switchyard::test::mixed_call(comm, call);
  switchyard::test::mixed_call(comm, 31, 4096);
}

void compare_executors(PairReport& report, cuda::NcclCommunicator& comm) {
  std::vector<ExpertParallelGrid> grids{{1, comm.size()}};
  if (comm.size() % 2 == 0) grids.push_back({2, comm.size() / 2});
  for (std::int64_t const hidden : {64, 5})
    for (auto const grid : grids)
      for (Dispatcher const dispatcher : support::kDispatchers) {
        RecipeBatch batch;
        batch.seed = 70 + static_cast<std::uint64_t>(hidden);
        batch.hidden = hidden;
        RecipeRun run;
        run.grid = grid;
        run.dispatcher = dispatcher;
        std::string const name = std::string(support::name_of(dispatcher)) + " tp" + std::to_string(grid.tp) + " ep" +
                                 std::to_string(grid.ep) + " hidden " + std::to_string(hidden);
        auto const layout = hidden == 64 ? cuda::ReceiveLayout::chunks : cuda::ReceiveLayout::blocks;
        recipe_rank(report, batch, run, layout, name, comm, comm);
      }
}

int survive_a_death(cuda::NcclCommunicator& comm, int victim) {
  auto const start = std::chrono::steady_clock::now();
  try {
    for (int call = 0;; ++call) {
      if (comm.rank().value() == victim && call == 10) static_cast<void>(std::raise(SIGKILL));
      switchyard::test::mixed_call(comm, call, 256);
    }
  } catch (Error const& error) {
    auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("rank %d survived for %.2f s: %s\n", comm.rank().value(), seconds, error.what());
    return error.code() == ErrorCode::aborted || error.code() == ErrorCode::timeout ? 0 : 1;
  }
}

int run_rank() {
  auto const config = launch::launch_config({}, launch::launch_environment());
  if (cudaSetDevice(config.local_rank % cuda::device_count()) != cudaSuccess)
    throw Error(ErrorCode::cuda, "the device of this rank cannot be used");
  auto group = launch::join_group(config, cuda::make_nccl_id, std::chrono::seconds(60));
  cuda::NcclCommunicator comm(
      cuda::NcclHandle::create(group.client->blob(), config.rank, config.world_size, std::chrono::seconds(60)),
      *group.client);
  if (config.rank == 0)
    std::printf("%s; %s; %d ranks by %s\n", cuda::describe_nccl().c_str(), cuda::describe_device().c_str(),
                config.world_size, config.source.c_str());
  if (char const* const victim = std::getenv("SWITCHYARD_DIE_AT")) return survive_a_death(comm, std::atoi(victim));
  PairReport report;
  move_messages(comm);
  compare_executors(report, comm);
  comm.barrier({.operation = "end"});
  std::printf("rank %d: %ld comparisons of %zu values, %d failed\n", config.rank, report.comparisons(), report.values(),
              report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  constexpr int kSkipped = 77;
  if (switchyard::cuda::device_count() == 0) {
    std::printf("skipped: no CUDA device on this machine\n");
    return kSkipped;
  }
  try {
    return cross_backend::run_rank();
  } catch (std::exception const& error) {
    std::printf("FAILED %s\n", error.what());
    return 1;
  }
}
