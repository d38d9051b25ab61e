// SPDX-License-Identifier: Apache-2.0
// Planning of one rank of 8, for every family: both pure steps, with what the other ranks announce given. The goal is
// 5 ms at 4,096 tokens per rank.
#include <benchmark/benchmark.h>

#include <vector>

#include "dispatch_setting.hpp"

namespace {

using namespace switchyard;
using namespace dispatch_bench;

constexpr RankId kRank{3};

RankId rank_at(std::size_t index) {
  return RankId{static_cast<std::int32_t>(index)};
}

/// [world * slots] of any assignment function.
template <typename Assign>
std::vector<std::int64_t> gathered_counts(Setting const& setting, Assign const& assign) {
  std::vector<std::int64_t> counts;
  for (std::size_t rank = 0; rank < setting.routings.size(); ++rank) {
    auto const rows = assign(rank_at(rank)).rows_per_slot;
    counts.insert(counts.end(), rows.begin(), rows.end());
  }
  return counts;
}

void plan_alltoall_rank(benchmark::State& state) {
  Setting const setting(state.range(0));
  auto const config = config_of_grid<AllToAllConfig>();
  auto const assign = [&](RankId rank) {
    return assign_rows(config, rank, setting.routings[rank.index()], setting.placement, 0);
  };
  auto const counts = gathered_counts(setting, assign);
  for (auto _ : state) benchmark::DoNotOptimize(plan_alltoall(config, assign(kRank), setting.placement, 0, counts));
}

void plan_megablocks_rank(benchmark::State& state) {
  Setting const setting(state.range(0));
  auto const config = megablocks_config();
  auto const assign = [&](RankId rank) {
    return assign_megablocks_rows(config, rank, setting.routings[rank.index()], setting.placement, 0);
  };
  auto const counts = gathered_counts(setting, assign);
  for (auto _ : state) benchmark::DoNotOptimize(plan_megablocks(config, assign(kRank), setting.placement, 0, counts));
}

void plan_allgather_rank(benchmark::State& state) {
  Setting const setting(state.range(0));
  auto const config = config_of_grid<AllGatherConfig>();
  auto const assign = [&](RankId rank) {
    return assign_rows(return_config(config), rank, setting.routings[rank.index()], setting.placement, 0);
  };
  std::vector<SlotTable> tables;
  for (std::size_t rank = 0; rank < setting.routings.size(); ++rank)
    tables.push_back(slot_table(assign(rank_at(rank))));
  for (auto _ : state) {
    auto assignment = assign(kRank);
    auto own = slot_table(assignment);  // what this rank would send
    benchmark::DoNotOptimize(own);
    benchmark::DoNotOptimize(plan_allgather(config, std::move(assignment), setting.placement, 0, tables));
  }
}

/// What rank kRank gets from all ranks before it plans a Flex dispatch.
struct FlexInputs {
  std::vector<std::int64_t> announcements;
  std::vector<std::int32_t> ids;
};

FlexInputs flex_inputs(Setting const& setting, FlexConfig const& config) {
  FlexInputs inputs;
  for (std::size_t rank = 0; rank < setting.routings.size(); ++rank) {
    auto const flex = assign_flex_rows(config, rank_at(rank), setting.routings[rank], setting.placement, 0);
    auto const numbers = flex_announcement(flex);
    inputs.announcements.insert(inputs.announcements.end(), numbers.begin(), numbers.end());
    auto next = flex.ids.begin();
    for (std::size_t target = 0; target < flex.rows_per_rank.size(); ++target) {
      auto const end = next + flex.rows_per_rank[target] * flex.rows.slot_columns;
      if (rank_at(target) == kRank) inputs.ids.insert(inputs.ids.end(), next, end);
      next = end;
    }
  }
  return inputs;
}

void plan_flex_rank(benchmark::State& state) {
  Setting const setting(state.range(0));
  auto const config = config_of_grid<FlexConfig>();
  auto const inputs = flex_inputs(setting, config);
  for (auto _ : state)
    benchmark::DoNotOptimize(
        plan_flex(config, assign_flex_rows(config, kRank, setting.routings[kRank.index()], setting.placement, 0),
                  setting.placement, 0, inputs.announcements, inputs.ids));
}

/// What an executor does with a plan on every call beside moving rows.
void validate_plan(benchmark::State& state) {
  Setting const setting(state.range(0));
  auto const plan = setting.plans(kFamilies[state.range(1)])[kRank.index()];
  for (auto _ : state) benchmark::DoNotOptimize(validate(plan));
}
void fingerprint_plan(benchmark::State& state) {
  Setting const setting(state.range(0));
  auto const plan = setting.plans(kFamilies[state.range(1)])[kRank.index()];
  for (auto _ : state) benchmark::DoNotOptimize(plan.fingerprint());
}

BENCHMARK(plan_alltoall_rank)->Arg(256)->Arg(4096)->Unit(benchmark::kMillisecond);
BENCHMARK(plan_allgather_rank)->Arg(256)->Arg(4096)->Unit(benchmark::kMillisecond);
BENCHMARK(plan_flex_rank)->Arg(256)->Arg(4096)->Unit(benchmark::kMillisecond);
BENCHMARK(plan_megablocks_rank)->Arg(256)->Arg(4096)->Unit(benchmark::kMillisecond);
BENCHMARK(validate_plan)->ArgsProduct({{4096}, {0, 1, 2, 3}})->Unit(benchmark::kMillisecond);
BENCHMARK(fingerprint_plan)->ArgsProduct({{4096}, {0, 1, 2, 3}})->Unit(benchmark::kMillisecond);

}  // namespace
