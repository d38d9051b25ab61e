// SPDX-License-Identifier: Apache-2.0
// What the simulator costs at scale: exact link bytes, one fill, event-driven layers, a timeline.
//
// Groups of 256 ranks, every rank to every other of its group. `link_bytes` streams the flows and never holds them,
// `first_order` holds a list of them; nothing holds ranks x ranks. The process' peak memory is in `peak_mib`.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <vector>

#include "switchyard/sim/moe_timeline.hpp"
#include "switchyard/sim/network_model.hpp"
#include "switchyard/sim/timeline.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

using namespace switchyard;
using namespace switchyard::sim;

constexpr int kGroup = 256;

/// [256 x 256] sizes of the pairs of a group, 1 byte to 1 MiB.
std::vector<std::int64_t> drawn_bytes(std::uint64_t layer) {
  CounterRng const rng(1, layer);
  std::vector<std::int64_t> bytes;
  for (std::uint64_t pair = 0; pair < kGroup * kGroup; ++pair)
    bytes.push_back(1 + static_cast<std::int64_t>(rng.bits(pair) >> 44));
  return bytes;
}

/// Every group sends the drawn sizes, each group a few bytes more than the one before.
template <typename Visit>
void for_each_flow(int ranks, std::vector<std::int64_t> const& bytes, Visit const& visit) {
  for (int from = 0; from < ranks; ++from) {
    int const first = from / kGroup * kGroup;
    for (int to = first; to < first + kGroup; ++to) {
      auto const pair = static_cast<std::size_t>(from % kGroup * kGroup + to % kGroup);
      visit(Flow{RankId(from), RankId(to), bytes[pair] + first, 1, 0});
    }
  }
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

void link_bytes(benchmark::State& state) {
  auto const ranks = static_cast<int>(state.range(0));
  ClusterTopology const topology(cluster_preset("dgx-h100", ranks / 8));
  auto const bytes = drawn_bytes(0);
  for (auto _ : state) {
    LinkAccount account(topology);
    for_each_flow(ranks, bytes, [&](Flow const& flow) { account.add(flow); });
    benchmark::DoNotOptimize(account.lower_bound_us());
  }
  state.SetItemsProcessed(state.iterations() * std::int64_t{ranks} * kGroup);
  state.counters["peak_mib"] = peak_mib();
}
BENCHMARK(link_bytes)->Arg(2048)->Arg(65536)->Unit(benchmark::kMillisecond);

void first_order(benchmark::State& state) {
  auto const ranks = static_cast<int>(state.range(0));
  ClusterTopology const topology(cluster_preset("dgx-h100", ranks / 8));
  std::vector<Flow> flows;
  flows.reserve(static_cast<std::size_t>(ranks) * kGroup);
  for_each_flow(ranks, drawn_bytes(0), [&](Flow const& flow) { flows.push_back(flow); });
  auto const model = make_network_model(Fidelity::t1_first_order);
  for (auto _ : state) benchmark::DoNotOptimize(model->estimate(topology, flows).makespan_us);
  state.SetItemsProcessed(state.iterations() * std::int64_t{ranks} * kGroup);
  state.counters["peak_mib"] = peak_mib();
}
BENCHMARK(first_order)->Arg(2048)->Arg(65536)->Unit(benchmark::kMillisecond)->Iterations(1);

/// range(0) layers of 256 ranks, all pairs, sizes drawn; range(1): merge window in millionths of the lower bound.
void fluid_layers(benchmark::State& state) {
  ClusterTopology const topology(cluster_preset("dgx-h100", kGroup / 8));
  double const fraction = static_cast<double>(state.range(1)) * 1e-6;
  auto const model = make_network_model(Fidelity::t1, {.merge_fraction = fraction});
  double makespan_us = 0, error_us = 0;
  std::int64_t events = 0;
  for (auto _ : state)
    for (std::int64_t layer = 0; layer < state.range(0); ++layer) {
      std::vector<Flow> flows;
      for_each_flow(kGroup, drawn_bytes(static_cast<std::uint64_t>(layer)), [&](Flow const& f) { flows.push_back(f); });
      auto const estimate = model->estimate(topology, flows);
      makespan_us += estimate.makespan_us;
      error_us += estimate.merge_error_us;
      events += estimate.events;
    }
  state.counters["events"] = static_cast<double>(events);
  state.counters["makespan_us"] = makespan_us;
  state.counters["merge_error_us"] = error_us;
}
BENCHMARK(fluid_layers)
    ->Args({1, 0})
    ->Args({1, 1000})
    ->Args({58, 0})
    ->Args({58, 1000})
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

/// range(0) layers of two micro-batches on the streams of 256 ranks, all exchanges of a batch the drawn one; range(1)
/// as above.
void timeline(benchmark::State& state) {
  ClusterTopology const topology(cluster_preset("dgx-h100", kGroup / 8));
  auto const model = make_network_model(Fidelity::t1, {.merge_fraction = static_cast<double>(state.range(1)) * 1e-6});
  MoeTimelineSpec spec;
  spec.ranks = kGroup;
  spec.layers = static_cast<int>(state.range(0));
  spec.batches = 2;
  spec.attention_us = 500;
  for (std::uint64_t batch = 0; batch < 2; ++batch) {
    BatchWork work;
    work.dispatch.push_back({"exchange", {}});
    for_each_flow(kGroup, drawn_bytes(batch), [&](Flow const& f) { work.dispatch.back().flows.push_back(f); });
    work.combine = way_back(work.dispatch);
    work.experts_us.assign(kGroup, 1000);
    spec.works.push_back(std::move(work));
  }
  Timeline run;
  for (auto _ : state) run = run_timeline(moe_task_graph(spec), topology, *model);
  state.counters["makespan_us"] = run.makespan_us;
  state.counters["merge_error_us"] = run.merge_error_us;
  state.counters["peak_mib"] = peak_mib();
}
BENCHMARK(timeline)->Args({1, 1000})->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
