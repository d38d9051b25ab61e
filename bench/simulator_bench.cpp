// SPDX-License-Identifier: Apache-2.0
// What the simulator costs at scale: exact link bytes, one waterfill, event-driven layers.
//
// `link_bytes` streams the flows of groups of 256 ranks (every rank to every other of its group) and never holds them.
#include <benchmark/benchmark.h>

#include <vector>

#include "switchyard/sim/network_model.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

using namespace switchyard;
using namespace switchyard::sim;

constexpr int kGroup = 256;

/// Skewed sizes without a table: bytes of the pair from counters.
std::int64_t pair_bytes(CounterRng const& rng, int from, int to) {
  return 1 + static_cast<std::int64_t>(
                 rng.bits(static_cast<std::uint64_t>(std::int64_t{from} * kGroup + to % kGroup)) >> 44);
}

void link_bytes(benchmark::State& state) {
  auto const ranks = static_cast<int>(state.range(0));
  ClusterTopology const topology(cluster_preset("dgx-h100", ranks / 8));
  CounterRng const rng(1, 0);
  for (auto _ : state) {
    LinkAccount account(topology);
    for (int from = 0; from < ranks; ++from)
      for (int to = from / kGroup * kGroup; to < (from / kGroup + 1) * kGroup; ++to)
        account.add({RankId(from), RankId(to), pair_bytes(rng, from, to), 1, 0});
    benchmark::DoNotOptimize(account.lower_bound_us());
  }
  state.SetItemsProcessed(state.iterations() * std::int64_t{ranks} * kGroup);
}
BENCHMARK(link_bytes)->Arg(2048)->Arg(65536)->Unit(benchmark::kMillisecond);

/// One layer of 256 ranks, all pairs, sizes drawn; completions merged within range(0) millionths of the lower bound.
void fluid_layer(benchmark::State& state) {
  ClusterTopology const topology(cluster_preset("dgx-h100", kGroup / 8));
  CounterRng const rng(1, 0);
  std::vector<Flow> flows;
  for (int from = 0; from < kGroup; ++from)
    for (int to = 0; to < kGroup; ++to) flows.push_back({RankId(from), RankId(to), pair_bytes(rng, from, to), 1, 0});
  auto const model = make_network_model(Fidelity::t1, {.merge_fraction = static_cast<double>(state.range(0)) * 1e-6});
  NetworkEstimate estimate;
  for (auto _ : state) estimate = model->estimate(topology, flows);
  state.counters["events"] = static_cast<double>(estimate.events);
  state.counters["makespan_us"] = estimate.makespan_us;
  state.counters["merge_error_us"] = estimate.merge_error_us;
}
BENCHMARK(fluid_layer)->Arg(1000)->Arg(10000)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
