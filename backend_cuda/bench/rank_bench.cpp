// SPDX-License-Identifier: Apache-2.0
// bench_ranks(): dispatch and combine over NCCL and by the fused path, together and stage by stage. Samples are the
// largest time of any rank, by events on its stream around calls that start behind a barrier; all are kept. Floors are
// peer copies of the rows that leave a rank, one message per peer.
#include "rank_bench.hpp"

#include <cstdio>

#include "drawn_group.hpp"
#include "gpu_benches.hpp"
#include "planned_bench.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/fused_executor.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

/// busbw counts what leaves the rank, algbw the rows that its experts see.
double bus_factor(Wire const& wire, double bytes) {
  return bytes > 0 ? wire.bytes / bytes : 0;
}

/// One plan through dispatch, combine and both.
void bench_plan(RankBench& bench, std::string const& name, DispatchPlan const& plan, CombineRecipe const& recipe,
                cuda::ReceiveLayout layout, bool check, Wire const& wire) {
  cuda::DeviceCommunicator& comm = check ? bench.checked : bench.bare;
  cuda::DevicePlan const device_plan(plan, {layout, {}});
  cuda::CudaExecutor executor(comm);
  StepOperands const operands(plan.num_tokens, plan.num_expert_rows(), bench.stream);
  cuda::CombineInputs inputs;
  inputs.weights = operands.weights();
  auto const dispatch = [&] { executor.dispatch(device_plan, operands.tokens(), operands.rows(), bench.stream); };
  auto const combine = [&] {
    executor.combine(device_plan, recipe, operands.rows(), inputs, operands.out(), bench.stream);
  };
  Fields const fields{{"tokens", static_cast<double>(plan.num_tokens)},
                      {"ranks", static_cast<double>(comm.size())},
                      {"check", check ? 1.0 : 0.0}};
  std::string const full = name + " " + std::string(name_of(recipe)) + " T=" + std::to_string(plan.num_tokens) +
                           (layout == cuda::ReceiveLayout::chunks ? " chunks" : " blocks") +
                           (check ? "" : " unchecked");
  double const bytes = static_cast<double>(plan.num_expert_rows() * kRowBytes);
  double const factor = bus_factor(wire, bytes);
  auto const both = [&] {
    dispatch();
    combine();
  };
  bench.board.hand_in("dispatch " + full, fields, bytes, bench.sample(dispatch), wire.copies_us, factor);
  bench.board.hand_in("combine " + full, fields, bytes, bench.sample(combine), wire.copies_us, factor);
  bench.board.hand_in("round trip " + full, fields, 2 * bytes, bench.sample(both), 2 * wire.copies_us, factor);
}

/// The fused path on the same plan; says why where it is not available.
void bench_fused(RankBench& bench, DispatchPlan const& plan, Wire const& wire) {
  auto const attempt = cuda::FusedExecutor::create(bench.checked, {plan.num_tokens, kRowBytes, kTopK});
  if (attempt.executor == nullptr) {
    if (plan.rank.value() == 0) std::printf("fused path not available: %s\n", attempt.reason.c_str());
    return;
  }
  cuda::DevicePlan const device_plan(plan);
  auto fused_plan = attempt.executor->prepare(device_plan);
  StepOperands const operands(plan.num_tokens, plan.num_expert_rows(), bench.stream);
  auto const dispatch = [&] {
    attempt.executor->dispatch(fused_plan, operands.tokens(), operands.weights(), operands.rows(), bench.stream);
  };
  auto const combine = [&] { attempt.executor->combine(fused_plan, operands.rows(), operands.out(), bench.stream); };
  Fields const fields{{"tokens", static_cast<double>(plan.num_tokens)},
                      {"ranks", static_cast<double>(bench.bare.size())}};
  std::string const full = "fused rank_partial T=" + std::to_string(plan.num_tokens);
  double const bytes = static_cast<double>(plan.num_expert_rows() * kRowBytes);
  auto const both = [&] {
    dispatch();
    combine();
  };
  double const factor = bus_factor(wire, bytes);
  for (int const burst : {1, kBurst}) {
    std::string const name = full + (burst > 1 ? " in bursts of " + std::to_string(burst) : "");
    bench.board.hand_in("dispatch " + name, fields, bytes, bench.sample(dispatch, burst), wire.copies_us, factor);
    bench.board.hand_in("combine " + name, fields, bytes, bench.sample(combine, burst), wire.copies_us, factor);
    bench.board.hand_in("round trip " + name, fields, 2 * bytes, bench.sample(both, burst), 2 * wire.copies_us, factor);
  }
  attempt.executor->check(bench.stream);
  bench.checked.barrier({.operation = "fused end"});
}

void bench_dispatch(RankBench& bench, std::int64_t tokens) {
  DrawnGroup const group(bench, tokens);
  auto const flex_plan = group.flex_plan();
  auto const plan = group.alltoall_plan();
  Wire const flex_wire = measure_wire(bench, exchange_of(flex_plan));
  Wire const wire = measure_wire(bench, exchange_of(plan));
  bench_fused(bench, flex_plan, flex_wire);
  bench_planned(bench, group.routing(), group.placement(), {kHidden, kTopK, kBurst});
  bench_stages(bench, flex_plan, group.routing(), group.placement(), flex_wire);
  bench_stages(bench, plan, group.routing(), group.placement(), wire);
  for (bool const check : {true, false}) {
    bench_plan(bench, "flex", flex_plan, CombineRecipe::rank_partial(), cuda::ReceiveLayout::blocks, check, flex_wire);
    for (auto const layout : {cuda::ReceiveLayout::blocks, cuda::ReceiveLayout::chunks})
      bench_plan(bench, "alltoall", plan, CombineRecipe::source_slot_order(), layout, check, wire);
  }
}

}  // namespace

std::string describe_ranks() {
  return cuda::describe_nccl();
}

void bench_ranks(Results& results, int ranks, std::vector<std::int64_t> const& tokens) {
  Board board(results, ranks);
  run_rank_threads(ranks, [&](RankClock& clock) {
    RankBench bench{board, clock};
    for (std::int64_t const count : tokens) bench_dispatch(bench, count);
  });
}

}  // namespace gpu_bench
