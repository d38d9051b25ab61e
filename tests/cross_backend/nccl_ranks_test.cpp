// SPDX-License-Identifier: Apache-2.0
// switchyard_nccl_ranks: one rank in one process. Started once per rank (torchrun, srun, mpirun, a shell loop with
// RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT): joins the group, moves ragged messages with provenance over host
// memory, then compares CpuExecutor and CudaExecutor over NCCL byte by byte, and the fused path with both, which must
// be there where SWITCHYARD_REQUIRE_FUSED=1. Exit 0 when all is equal, 1 when not, 77 without a GPU. SWITCHYARD_CASES=n
// takes few cases, for slow tools. rank_faults.hpp says how a rank is killed or stopped in the middle instead.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>

#include "conformance/ragged_calls.hpp"
#include "executor_families.hpp"
#include "few_cases.hpp"
#include "fused_allocations.hpp"
#include "fused_steps.hpp"
#include "gpu_program.hpp"
#include "rank_fault_phases.hpp"
#include "step_paths.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/cuda/system.hpp"

namespace cross_backend {
namespace {

void move_messages(Communicator& comm) {
  for (int call = 0; call < 40; ++call) switchyard::test::mixed_call(comm, call);
  switchyard::test::mixed_call(comm, 31, 4096);
}

void compare_executors(PairReport& report, cuda::NcclCommunicator& comm) {
  std::vector<ExpertParallelGrid> grids{{1, comm.size()}};
  if (comm.size() % 2 == 0) grids.push_back({2, comm.size() / 2});
  bool const few = takes_few_cases();
  for (std::int64_t const hidden : few ? std::vector<std::int64_t>{5} : std::vector<std::int64_t>{64, 5})
    for (auto const grid : grids)
      for (Dispatcher const dispatcher : support::kDispatchers) {
        if (few && dispatcher != Dispatcher::alltoall_tp_major && dispatcher != Dispatcher::flex) continue;
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

/// The cases of switchyard_cuda_executor that have as many ranks as the group.
void compare_families(PairReport& report, cuda::NcclCommunicator& comm) {
  auto const cases = family_cases(takes_few_cases() ? 1 : 12);
  int const step = takes_few_cases() ? 23 : 1;
  for (std::size_t i = 0; i < cases.size(); i += static_cast<std::size_t>(step))
    if (cases[i].world() == comm.size()) family_rank(report, cases[i], static_cast<int>(i), comm, comm);
}

/// Under slow tools: how far the rank is when its time is up.
void say_done(char const* part) {
  static auto const start = std::chrono::steady_clock::now();
  if (!takes_few_cases()) return;
  auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%s done, %.1f s after the first part\n", part, seconds);
  std::fflush(stdout);
}

int run_rank() {
  auto const config = launch::launch_config({}, launch::launch_environment());
  if (cudaSetDevice(config.local_rank % cuda::device_count()) != cudaSuccess)
    throw Error(ErrorCode::cuda, "the device of this rank cannot be used");
  auto group = launch::join_group(config, cuda::make_nccl_id, std::chrono::seconds(60));
  auto const fault = asked_fault();
  if (fault && fault->phase == "init") return survive_init(*group.client, *fault);
  cuda::NcclCommunicator comm(
      cuda::NcclHandle::create(group.client->blob(), config.rank, config.world_size, std::chrono::seconds(60)),
      *group.client, fault ? options_under(*fault) : cuda::NcclOptions{});
  std::string const group_line = cuda::describe_group(comm);
  if (config.rank == 0) std::printf("%s; started by %s\n", group_line.c_str(), config.source.c_str());
  if (fault) return survive(comm, *fault);
  PairReport report;
  move_messages(comm);
  say_done("messages");
  compare_executors(report, comm);
  say_done("executors");
  compare_families(report, comm);
  say_done("families");
  compare_fused(report, comm, kFewRows);
  if (!takes_few_cases()) compare_fused(report, comm, kManyRows);
  refuse_other_call(report, comm);
  say_done("fused");
  compare_planned(report, comm);
  refuse_planned(report, comm);
  say_done("planned");
  fuse_without_memory(report, comm);
  say_done("memory");
  compare_step_paths(report, comm, comm, takes_few_cases());
  comm.barrier({.operation = "end"});
  std::printf("rank %d: %ld comparisons of %zu values, %d failed\n", config.rank, report.comparisons(), report.values(),
              report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_rank);
}
