// SPDX-License-Identifier: Apache-2.0
// bench_fused_steps(): the fused path from one token on, with a ready plan and with one made in the step by either kind
// of kernels.
#include <algorithm>
#include <functional>
#include <tuple>

#include "drawn_group.hpp"
#include "gpu_benches.hpp"
#include "planned_bench.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

/// Dispatch, combine and both with a ready plan: launched, together, in a row, and in a row of replays.
void bench_ready(RankBench& bench, cuda::FusedExecutor& executor, DispatchPlan const& plan) {
  cuda::DevicePlan const device_plan(plan);
  auto fused_plan = executor.prepare(device_plan);
  StepOperands const operands(plan.num_tokens, plan.num_expert_rows(), bench.stream);
  std::function<void()> const dispatch = [&] {
    executor.dispatch(fused_plan, operands.tokens(), operands.weights(), operands.rows(), bench.stream);
  };
  std::function<void()> const combine = [&] {
    executor.combine(fused_plan, operands.rows(), operands.out(), bench.stream);
  };
  std::function<void()> const both = [&] {
    dispatch();
    combine();
  };
  std::string const tail = " fused ready T=" + std::to_string(plan.num_tokens);
  std::string const in_a_row = " in bursts of " + std::to_string(kBurst);
  Fields const fields{{"tokens", static_cast<double>(plan.num_tokens)},
                      {"ranks", static_cast<double>(bench.bare.size())}};
  double const bytes = static_cast<double>(plan.num_expert_rows() * kRowBytes);
  for (auto const& [name, work, ways] : {std::tuple{"dispatch", dispatch, 1.0}, std::tuple{"combine", combine, 1.0},
                                         std::tuple{"round trip", both, 2.0}}) {
    bench.hand_in_single(name + tail, fields, ways * bytes, work);
    bench.board.hand_in(name + tail + in_a_row, fields, ways * bytes, bench.sample(work, kBurst));
    CapturedSteps const steps(bench.stream, work);
    bench.board.hand_in(name + (", graph," + tail) + in_a_row, fields, ways * bytes,
                        bench.sample([&] { steps.launch(); }, kBurst));
  }
  executor.check(bench.stream);
  bench.checked.barrier({.operation = "fused end"});
}

void bench_steps(RankBench& bench, cuda::FusedExecutor& executor, std::int64_t tokens) {
  DrawnGroup const group(bench, tokens);
  bench_ready(bench, executor, group.flex_plan());
  for (auto const kernels : {cuda::PlanKernels::automatic, cuda::PlanKernels::chain})
    bench_planned(bench, executor, group.routing(), group.placement(), {kHidden, kTopK, kBurst, kernels});
}

}  // namespace

void bench_fused_steps(Results& results, int ranks, std::vector<std::int64_t> const& tokens) {
  Board board(results, ranks);
  run_rank_threads(ranks, [&](RankClock& clock) {
    RankBench bench{board, clock};
    auto const most = *std::max_element(tokens.begin(), tokens.end());
    auto const attempt = cuda::FusedExecutor::create(bench.checked, {most, kRowBytes, kTopK});
    if (attempt.executor == nullptr) throw Error(ErrorCode::unsupported, "no fused path: " + attempt.reason);
    for (std::int64_t const count : tokens) bench_steps(bench, *attempt.executor, count);
  });
}

}  // namespace gpu_bench
