// SPDX-License-Identifier: Apache-2.0
// Planning time on one core for the DeepSeek-R1 shape (58 layers, 256 experts, 288 slots, 32 ranks on 4 nodes, 8
// groups) and for larger groups. Loads are log-normal-like: products of uniform draws, seeded.
#include <benchmark/benchmark.h>

#include <memory>

#include "switchyard/io/plan_json.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

using switchyard::CounterRng;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::PolicyRequest;
using switchyard::SlotLayout;
namespace io = switchyard::io;

PolicyRequest const kDeepSeekR1{32, 288, 4, 8};
constexpr int kLayers = 58;
constexpr int kExperts = 256;

ExpertLoad skewed_load(int num_layers, int num_experts) {
  CounterRng const rng(1);
  std::vector<double> values;
  std::uint64_t draw = 0;
  for (int i = 0; i < num_layers * num_experts; ++i) {
    double value = 64;
    for (int factor = 0; factor < 4; ++factor) value *= static_cast<double>(1 + rng.below(draw++, 8)) / 4;
    values.push_back(static_cast<double>(static_cast<std::int64_t>(value)));
  }
  return ExpertLoad(1, num_layers, num_experts, std::move(values));
}

void policy(benchmark::State& state, bool hierarchical) {
  auto const load = skewed_load(kLayers, kExperts);
  for (auto _ : state) benchmark::DoNotOptimize(deepseek_rebalance(load, kDeepSeekR1, hierarchical));
}

/// Every peer's policy on 58 x 256: slots for one rank's worth of spares, rounded up to a multiple of the ranks.
void peer_policy(benchmark::State& state, char const* name) {
  auto const load = skewed_load(kLayers, kExperts);
  auto const ranks = static_cast<int>(state.range(0));
  PolicyRequest request{ranks, (288 + ranks - 1) / ranks * ranks, 1, 1};
  auto const policy = switchyard::make_policy(name);
  if (policy->honours(request).has(switchyard::RequestPart::current)) {
    request.current =
        std::make_shared<ExpertPlacement const>(ExpertPlacement::trivial(kLayers, kExperts, slot_layout_of(request)));
  }
  for (auto _ : state) benchmark::DoNotOptimize(policy->place(load, request));
}

/// The same for one layer of 1,024 experts in 1,536 slots.
void peer_policy_large(benchmark::State& state, char const* name) {
  auto const load = skewed_load(1, 1024);
  PolicyRequest request{static_cast<int>(state.range(0)), 1536, 1, 1};
  auto const policy = switchyard::make_policy(name);
  if (policy->honours(request).has(switchyard::RequestPart::current)) {
    request.current =
        std::make_shared<ExpertPlacement const>(ExpertPlacement::trivial(1, 1024, slot_layout_of(request)));
  }
  for (auto _ : state) benchmark::DoNotOptimize(policy->place(load, request));
}

/// One layer of 1,024 experts on the given ranks, 1,152 slots rounded up to a multiple of them.
void policy_large(benchmark::State& state) {
  auto const load = skewed_load(1, 1024);
  auto const ranks = static_cast<int>(state.range(0));
  int const slots = (1152 + ranks - 1) / ranks * ranks;
  for (auto _ : state) benchmark::DoNotOptimize(deepseek_rebalance(load, {ranks, slots, 1, 1}, false));
}

struct Move {
  ExpertPlacement before = ExpertPlacement::trivial(kLayers, kExperts, SlotLayout::uniform(32, 9));
  ExpertPlacement after = deepseek_rebalance(skewed_load(kLayers, kExperts), kDeepSeekR1, true).placement;
};

void transfer_plan(benchmark::State& state) {
  Move const move;
  for (auto _ : state) benchmark::DoNotOptimize(plan_rebalance(move.before, move.after));
  state.counters["network_copies"] =
      static_cast<double>(totals(plan_rebalance(move.before, move.after)).network_copies);
}

void plan_validation(benchmark::State& state) {
  Move const move;
  auto const plan = plan_rebalance(move.before, move.after);
  for (auto _ : state) benchmark::DoNotOptimize(validate(plan));
}

void plan_to_json(benchmark::State& state) {
  Move const move;
  auto const plan = plan_rebalance(move.before, move.after);
  for (auto _ : state) benchmark::DoNotOptimize(io::to_json(plan));
  state.counters["bytes"] = static_cast<double>(io::to_json(plan).size());
}

void plan_from_json(benchmark::State& state) {
  Move const move;
  auto const text = io::to_json(plan_rebalance(move.before, move.after));
  for (auto _ : state) benchmark::DoNotOptimize(io::rebalance_plan_from_json(text, "benchmark"));
}

void imbalance(benchmark::State& state) {
  auto const load = skewed_load(kLayers, kExperts);
  Move const move;
  for (auto _ : state) benchmark::DoNotOptimize(measure_imbalance(load, move.after));
}

}  // namespace

BENCHMARK_CAPTURE(policy, hierarchical, true)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(policy, global, false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy, vllm, "vllm")->Arg(32)->Arg(72)->Arg(144)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy, sglang_vec, "sglang-vec")->Arg(32)->Arg(72)->Arg(144)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy, tensorrt_llm, "tensorrt-llm")->Arg(32)->Arg(72)->Arg(144)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy, ascend_default, "ascend-default")
    ->Arg(32)
    ->Arg(72)
    ->Arg(144)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy, swift, "swift")->Arg(32)->Arg(72)->Arg(144)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy_large, vllm, "vllm")->Arg(512)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy_large, sglang_vec, "sglang-vec")->Arg(512)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy_large, tensorrt_llm, "tensorrt-llm")->Arg(512)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy_large, ascend_default, "ascend-default")->Arg(512)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(peer_policy_large, swift, "swift")->Arg(512)->Unit(benchmark::kMillisecond);
BENCHMARK(policy_large)->Arg(144)->Arg(512)->Unit(benchmark::kMillisecond);
BENCHMARK(transfer_plan)->Unit(benchmark::kMillisecond);
BENCHMARK(plan_validation)->Unit(benchmark::kMillisecond);
BENCHMARK(plan_to_json)->Unit(benchmark::kMillisecond);
BENCHMARK(plan_from_json)->Unit(benchmark::kMillisecond);
BENCHMARK(imbalance)->Unit(benchmark::kMillisecond);
