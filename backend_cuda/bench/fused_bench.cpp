// SPDX-License-Identifier: Apache-2.0
// bench_fused_steps(): the fused path from one token on, with a ready plan and with one made in the step by either kind
// of kernels.
#include <algorithm>
#include <functional>
#include <tuple>

#include "gpu_benches.hpp"
#include "planned_bench.hpp"
#include "rank_bench.hpp"
#include "switchyard/dispatch/flex_planner.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

/// Dispatch, combine and both with a ready plan: launched, in a row, and in a row of replays.
void bench_ready(RankBench& bench, cuda::FusedExecutor& executor, DispatchPlan const& plan) {
  cuda::DevicePlan const device_plan(plan);
  auto fused_plan = executor.prepare(device_plan);
  std::int64_t const rows = plan.num_expert_rows();
  cuda::DeviceBuffer const tokens(plan.num_tokens * kRowBytes);
  cuda::DeviceBuffer const expert_rows(rows * kRowBytes);
  cuda::DeviceBuffer const out(plan.num_tokens * kRowBytes);
  cuda::fill_bytes(tokens, 0x3c, bench.stream);
  auto const weights =
      cuda::upload(std::vector<float>(static_cast<std::size_t>(plan.num_tokens * kTopK), 0.125F), bench.stream);
  auto const row_view = expert_rows.view(DType::bf16, {rows, kHidden});
  std::function<void()> const dispatch = [&] {
    executor.dispatch(fused_plan, tokens.view(DType::bf16, {plan.num_tokens, kHidden}),
                      weights.view(DType::f32, {plan.num_tokens, kTopK}), row_view, bench.stream);
  };
  std::function<void()> const combine = [&] {
    executor.combine(fused_plan, row_view, out.view(DType::bf16, {plan.num_tokens, kHidden}), bench.stream);
  };
  std::function<void()> const both = [&] {
    dispatch();
    combine();
  };
  std::string const tail = " fused ready T=" + std::to_string(plan.num_tokens);
  std::string const in_a_row = " in bursts of " + std::to_string(kBurst);
  Fields const fields{{"tokens", static_cast<double>(plan.num_tokens)},
                      {"ranks", static_cast<double>(bench.bare.size())}};
  double const bytes = static_cast<double>(rows * kRowBytes);
  for (auto const& [name, work, ways] : {std::tuple{"dispatch", dispatch, 1.0}, std::tuple{"combine", combine, 1.0},
                                         std::tuple{"round trip", both, 2.0}}) {
    bench.board.hand_in(name + tail, fields, ways * bytes, bench.sample(work));
    bench.board.hand_in(name + tail + in_a_row, fields, ways * bytes, bench.sample(work, kBurst));
    CapturedSteps const steps(bench.stream, work);
    bench.board.hand_in(name + (", graph," + tail) + in_a_row, fields, ways * bytes,
                        bench.sample([&] { steps.launch(); }, kBurst));
  }
  executor.check(bench.stream);
  bench.checked.barrier({.operation = "fused end"});
}

void bench_steps(RankBench& bench, cuda::FusedExecutor& executor, std::int64_t tokens) {
  int const ranks = bench.checked.size();
  auto const me = bench.checked.rank().index();
  std::vector<RoutingMap> routings;
  for (int rank = 0; rank < ranks; ++rank) routings.push_back(draw_routing(rank, tokens));
  auto const placement = ExpertPlacement::contiguous(1, kExperts, ranks);
  FlexConfig flex;
  flex.grid = {1, ranks};
  bench_ready(bench, executor, plan_flex_group(flex, routings, placement, 0)[me]);
  for (auto const kernels : {cuda::PlanKernels::automatic, cuda::PlanKernels::chain})
    bench_planned(bench, executor, routings[me], placement, {kHidden, kTopK, kBurst, kernels});
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
