// SPDX-License-Identifier: Apache-2.0
// Router throughput on one core: 4,096 tokens, 256 experts, top-8, fp32 logits; items are tokens. `copy_logits` moves
// the same logits once and is the floor of anything that reads them.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "switchyard/routing/losses.hpp"
#include "switchyard/routing/router.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

using switchyard::RouterConfig;
using switchyard::ScoreFunction;

constexpr std::int64_t kTokens = 4096;
constexpr int kExperts = 256;
constexpr int kTopK = 8;

std::vector<float> const& logits() {
  static std::vector<float> const values = [] {
    switchyard::CounterRng const rng(1, 0);
    std::vector<float> drawn(static_cast<std::size_t>(kTokens * kExperts));
    for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = static_cast<float>(rng.below(i, 65536)) / 8192.0F - 4.0F;
    return drawn;
  }();
  return values;
}

switchyard::ConstTensorView view() {
  return switchyard::ConstTensorView::matrix(std::span<float const>(logits()), kTokens, kExperts);
}

void finish(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kTokens);
  state.SetBytesProcessed(state.iterations() * kTokens * kExperts * static_cast<std::int64_t>(sizeof(float)));
}

void copy_logits(benchmark::State& state) {
  std::vector<float> target(logits().size());
  for (auto _ : state) {
    std::memcpy(target.data(), logits().data(), target.size() * sizeof(float));
    benchmark::DoNotOptimize(target.data());
    benchmark::ClobberMemory();
  }
  finish(state);
}

void route_tokens(benchmark::State& state, ScoreFunction function, bool grouped) {
  RouterConfig config;
  config.score_function = function;
  config.top_k = kTopK;
  config.normalisation = switchyard::Normalisation::sum;
  if (grouped) config.groups = switchyard::GroupLimit{8, 4, 2};
  for (auto _ : state) benchmark::DoNotOptimize(route(config, view()));
  finish(state);
}

void z_loss_of_tokens(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(switchyard::z_loss(0.001, view()));
  finish(state);
}

BENCHMARK(copy_logits);
BENCHMARK_CAPTURE(route_tokens, softmax_pre, ScoreFunction::softmax_pre, false);
BENCHMARK_CAPTURE(route_tokens, softmax_post, ScoreFunction::softmax_post, false);
BENCHMARK_CAPTURE(route_tokens, sigmoid, ScoreFunction::sigmoid, false);
BENCHMARK_CAPTURE(route_tokens, sigmoid_4_of_8_groups, ScoreFunction::sigmoid, true);
BENCHMARK_CAPTURE(route_tokens, sqrt_softplus, ScoreFunction::sqrt_softplus, false);
BENCHMARK(z_loss_of_tokens);

}  // namespace
