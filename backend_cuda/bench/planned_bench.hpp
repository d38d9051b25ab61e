// SPDX-License-Identifier: Apache-2.0
/// Times of fused steps that plan for themselves.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "captured_steps.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/fused_executor.hpp"

namespace gpu_bench {

struct PlannedShape {
  std::int64_t hidden;
  int top_k;
  int burst;  ///< steps in a row of a second series
  switchyard::cuda::PlanKernels kernels = switchyard::cuda::PlanKernels::automatic;
};

/// Planning, and whole steps from routing on the device: launched, and as replays of a graph. @param bench one rank's
/// group, stream, clock and board. @param executor made for as many tokens or more
template <typename Bench>
void bench_planned(Bench& bench, switchyard::cuda::FusedExecutor& executor, switchyard::RoutingMap const& routing,
                   switchyard::ExpertPlacement const& placement, PlannedShape const& shape) {
  namespace cuda = switchyard::cuda;
  using switchyard::DType;
  cuda::StreamView const stream = bench.stream;
  std::int64_t const count = routing.num_tokens();
  cuda::DevicePlannerConfig config;
  config.grid = {1, bench.checked.size()};
  config.columns = shape.top_k;
  config.max_tokens = count;
  config.max_expert_rows = 2 * count * shape.top_k;
  config.kernels = shape.kernels;
  auto plan = executor.prepare(config, placement, 0);
  auto const ids = cuda::upload(std::vector<std::int32_t>(routing.ids().begin(), routing.ids().end()), stream);
  auto const weights = cuda::upload(std::vector<float>(routing.weights().begin(), routing.weights().end()), stream);
  cuda::DeviceBuffer const tokens(count * shape.hidden * 2);
  cuda::DeviceBuffer const expert_rows(plan.expert_rows() * shape.hidden * 2);
  cuda::fill_bytes(tokens, 0x3c, stream);
  cuda::DeviceBuffer const out(count * shape.hidden * 2);
  auto const row_view = expert_rows.view(DType::bf16, {plan.expert_rows(), shape.hidden});
  auto const make = [&] {
    executor.plan(plan, {ids.as<std::int32_t const>(), nullptr, weights.as<float const>(), count}, stream);
  };
  auto const step = [&] {
    make();
    executor.dispatch(plan, tokens.view(DType::bf16, {count, shape.hidden}),
                      weights.view(DType::f32, {count, shape.top_k}), row_view, stream);
    executor.combine(plan, row_view, out.view(DType::bf16, {count, shape.hidden}), stream);
  };
  std::vector<std::pair<std::string, double>> const fields{{"tokens", static_cast<double>(count)},
                                                           {"ranks", static_cast<double>(bench.checked.size())}};
  std::string const name =
      "fused T=" + std::to_string(count) + (shape.kernels == cuda::PlanKernels::chain ? " by a chain" : "");
  auto const bytes = static_cast<double>(count * shape.top_k * shape.hidden * 2);
  step();  // loads what is loaded late, outside a capture
  stream.synchronize();
  CapturedSteps const planning(stream, make);
  CapturedSteps const steps(stream, step);
  std::pair<std::string, std::function<void()>> const works[] = {
      {"plan ", make},
      {"planned round trip ", step},
      {"plan, graph, ", [&] { planning.launch(); }},
      {"planned round trip, graph, ", [&] { steps.launch(); }}};
  for (std::size_t i = 0; i < std::size(works); ++i) {
    auto const& [what, work] = works[i];
    double const moved = i % 2 == 0 ? 0 : 2 * bytes;
    bench.hand_in_single(what + name, fields, moved, work);
    bench.board.hand_in(what + name + " in bursts of " + std::to_string(shape.burst), fields, moved,
                        bench.sample(work, shape.burst));
  }
  executor.check(plan, stream);
  bench.checked.barrier({.operation = "planned end"});
}

/// With an executor made for the routing.
template <typename Bench>
void bench_planned(Bench& bench, switchyard::RoutingMap const& routing, switchyard::ExpertPlacement const& placement,
                   PlannedShape const& shape) {
  auto const attempt =
      switchyard::cuda::FusedExecutor::create(bench.checked, {routing.num_tokens(), shape.hidden * 2, shape.top_k});
  if (attempt.executor != nullptr) bench_planned(bench, *attempt.executor, routing, placement, shape);
}

}  // namespace gpu_bench
