// SPDX-License-Identifier: Apache-2.0
// switchyard_nccl_ranks: one rank in one process. Started once per rank (torchrun, srun, mpirun, a shell loop with
// RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT): joins the group, moves ragged messages with provenance over host
// memory, then compares CpuExecutor and CudaExecutor over NCCL byte by byte. Exit 0 when all is equal, 1 when not, 77
// without a GPU. SWITCHYARD_CASES=n takes few cases, for slow tools. rank_faults.hpp says how a rank is killed or
// stopped in the middle instead.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>

#include "conformance/ragged_calls.hpp"
#include "executor_cases.hpp"
#include "few_cases.hpp"
#include "fused_case.hpp"
#include "fused_planned.hpp"
#include "gpu_program.hpp"
#include "graph_replay.hpp"
#include "rank_faults.hpp"
#include "step_paths.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/fused_executor.hpp"
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

/// Few short rows, several of which share a block, and more long rows than the device holds blocks.
struct FusedShape {
  int tokens;
  std::int64_t hidden;
};
constexpr FusedShape kFewRows{RecipeBatch{}.tokens, FusedCase::kHidden};
constexpr FusedShape kManyRows{2500, 2056};

cuda::FusedExecutor::Attempt fused_executor(cuda::NcclCommunicator& comm, FusedShape const& shape) {
  auto attempt = cuda::FusedExecutor::create(comm, {shape.tokens * comm.size(), shape.hidden * 4, 16});
  if (attempt.executor == nullptr && comm.rank().value() == 0)
    std::printf("fused path skipped: %s\n", attempt.reason.c_str());
  return attempt;
}

/// The fused path beside CudaExecutor over NCCL, itself compared with the CPU above: the same bytes in a few steps,
/// with two dispatches in a row among them. Says so where the ranks cannot reach each other's memory.
void compare_fused(PairReport& report, cuda::NcclCommunicator& comm, FusedShape const& shape) {
  std::int64_t const hidden = shape.hidden;
  auto const attempt = fused_executor(comm, shape);
  if (attempt.executor == nullptr) return;
  FusedCase const fused_case(comm, shape.tokens);
  DispatchPlan const& plan = fused_case.plan;
  cuda::DevicePlan const& device_plan = fused_case.device_plan;
  cuda::CudaExecutor host_path(comm);
  cuda::FusedExecutor& fused = *attempt.executor;
  cuda::FusedPlan fused_plan = fused.prepare(device_plan);
  cuda::Stream const stream;
  std::int64_t const rows = plan.num_expert_rows();
  cuda::CombineInputs inputs;
  inputs.weights = fused_case.weight_view();
  for (int step = 0; step < 5; ++step) {
    std::vector<bf16_t> tokens;
    for (std::int64_t i = 0; i < plan.num_tokens * hidden; ++i)
      tokens.push_back(to_bf16(static_cast<float>((i * 37 + step * 101 + comm.rank().value() * 13) % 509) / 64.0F));
    auto const in = cuda::upload(tokens, stream);
    std::vector<cuda::DeviceBuffer> there;
    std::vector<cuda::DeviceBuffer> back;
    for (auto const poison : {std::uint8_t{0xa5}, std::uint8_t{0x5a}}) {
      there.emplace_back(rows * hidden * 2);
      back.emplace_back(plan.num_tokens * hidden * 2);
      cuda::fill_bytes(there.back(), poison, stream);
      cuda::fill_bytes(back.back(), poison, stream);
    }
    auto const token_view = in.view(DType::bf16, {plan.num_tokens, hidden});
    auto const row_view = [&](int i) { return there[static_cast<std::size_t>(i)].view(DType::bf16, {rows, hidden}); };
    auto const out_view = [&](int i) {
      return back[static_cast<std::size_t>(i)].view(DType::bf16, {plan.num_tokens, hidden});
    };
    host_path.dispatch(device_plan, token_view, row_view(0), stream);
    host_path.combine(device_plan, CombineRecipe::rank_partial(), row_view(0), inputs, out_view(0), stream);
    comm.wait(stream);
    auto const run_step = [&] {
      for (int repeat = 0; repeat <= step % 2; ++repeat)
        fused.dispatch(fused_plan, token_view, inputs.weights, row_view(1), stream);
      fused.combine(fused_plan, row_view(1), out_view(1), stream);
    };
    if (step < 3) run_step();
    if (step >= 3 && !replay(stream, 3, run_step))  // odd and even numbers of operations
      throw Error(ErrorCode::cuda, "a fused step could not be captured and replayed");
    fused.check(stream);
    std::string const name = "fused hidden " + std::to_string(hidden) + " step " + std::to_string(step);
    compare_bits(report, name + " dispatch", comm.rank().value(), hidden, cuda::download<bf16_t>(there[0], stream),
                 cuda::download<bf16_t>(there[1], stream));
    compare_bits(report, name + " combine", comm.rank().value(), hidden, cuda::download<bf16_t>(back[0], stream),
                 cuda::download<bf16_t>(back[1], stream));
  }
  comm.barrier({.operation = "fused end"});
}

/// One rank combines where the others dispatch: every rank learns it before it has read a row, and again in the call
/// after, with outputs of zeros.
void refuse_other_call(PairReport& report, cuda::NcclCommunicator& comm) {
  FusedShape const& shape = kFewRows;
  auto const attempt = fused_executor(comm, shape);
  if (attempt.executor == nullptr) return;
  FusedCase const fused_case(comm, shape.tokens);
  cuda::FusedPlan fused_plan = attempt.executor->prepare(fused_case.device_plan);
  cuda::Stream const stream;
  std::int64_t const rows = fused_case.plan.num_expert_rows();
  cuda::DeviceBuffer const tokens(fused_case.plan.num_tokens * shape.hidden * 2);
  cuda::DeviceBuffer const expert_rows(rows * shape.hidden * 2);
  auto const token_view = tokens.view(DType::bf16, {fused_case.plan.num_tokens, shape.hidden});
  auto const row_view = expert_rows.view(DType::bf16, {rows, shape.hidden});
  for (int call = 0; call < 2; ++call) {
    cuda::fill_bytes(tokens, 0x5a, stream);
    cuda::fill_bytes(expert_rows, 0x5a, stream);
    bool const is_odd_one = comm.rank().value() == 0;
    if (is_odd_one)
      attempt.executor->combine(fused_plan, row_view, token_view, stream);
    else
      attempt.executor->dispatch(fused_plan, token_view, fused_case.weight_view(), row_view, stream);
    ErrorCode code = ErrorCode::invalid_argument;
    try {
      attempt.executor->check(stream);
    } catch (Error const& error) {
      code = error.code();
    }
    if (code != ErrorCode::desync) throw Error(ErrorCode::invalid_plan, "a fused call beside another was not refused");
    auto const out = cuda::download<bf16_t>(is_odd_one ? tokens : expert_rows, stream);
    compare_bits(report, "fused refused call", comm.rank().value(), shape.hidden, std::vector<bf16_t>(out.size()), out);
  }
  comm.barrier({.operation = "fused end"});
}

int run_rank() {
  auto const config = launch::launch_config({}, launch::launch_environment());
  if (cudaSetDevice(config.local_rank % cuda::device_count()) != cudaSuccess)
    throw Error(ErrorCode::cuda, "the device of this rank cannot be used");
  auto group = launch::join_group(config, cuda::make_nccl_id, std::chrono::seconds(60));
  auto const fault = asked_fault();
  cuda::NcclCommunicator comm(
      cuda::NcclHandle::create(group.client->blob(), config.rank, config.world_size, std::chrono::seconds(60)),
      *group.client, fault ? options_under(*fault) : cuda::NcclOptions{});
  if (config.rank == 0)
    std::printf("%s; %s; %d ranks by %s\n", cuda::describe_nccl().c_str(), cuda::describe_device().c_str(),
                config.world_size, config.source.c_str());
  if (fault) return survive(comm, *fault);
  PairReport report;
  move_messages(comm);
  compare_executors(report, comm);
  compare_fused(report, comm, kFewRows);
  if (!takes_few_cases()) compare_fused(report, comm, kManyRows);
  refuse_other_call(report, comm);
  compare_planned(report, comm);
  refuse_planned(report, comm);
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
