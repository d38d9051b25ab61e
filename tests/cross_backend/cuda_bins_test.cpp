// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_bins: MegaBlocks' plans made by kernels against core's, as a whole and by fingerprint.
// SWITCHYARD_CASES=n takes few cases, for slow tools.
//
// By hand, one rank, 2 experts, capacity 1 and tokens of expert 1, 0, 1: sorted rows are tokens 1 | 0, 2; bins are
// {1}, {0}, token 2 finds no room: row_begin {0, 1, 2, 2}. With blocks of 2 rows bins are {1, -} and {0, 2}.
#include <cstdio>
#include <string>
#include <vector>

#include "bit_report.hpp"
#include "few_cases.hpp"
#include "gpu_program.hpp"
#include "graph_replay.hpp"
#include "planner_group.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {
namespace {

/// @param shards hidden shards of every expert block
ExpertPlacement blocks_of(PlannerCase const& run, int shards) {
  if (shards == 1) return placement_of(run);
  return ExpertPlacement::contiguous(run.layer + 1, run.experts, run.config.grid.ep / shards);
}

PlannerCase bins_case(ExpertBins bins, int ranks, int experts, int columns, std::vector<std::int64_t> tokens) {
  auto run = make_case(DispatchFamily::megablocks, {1, ranks}, experts, columns, std::move(tokens));
  run.config.megablocks.world = ranks;
  run.config.megablocks.bins = bins;
  run.config.megablocks.block_rows = 4;
  run.name += std::string(" bins ") + std::string(to_string(bins));
  return run;
}

std::vector<DispatchPlan> plans_of_core(PlannerCase const& run, std::vector<RoutingMap> const& routings, int shards) {
  MegaBlocksConfig config = run.config.megablocks;
  config.replica_rule = run.config.replica_rule;
  return plan_megablocks_group(config, routings, blocks_of(run, shards), run.layer);
}

void compare_bins(BitReport& report, std::string const& name, std::vector<DispatchPlan> const& core,
                  PlannerGroup const& group) {
  auto const digests = group.digests();
  for (std::size_t rank = 0; rank < core.size(); ++rank) {
    std::string const label = name + " rank " + std::to_string(rank);
    report.state(core[rank] == group.planners[rank].download(group.stream),
                 label + ": plan of " + std::to_string(core[rank].num_expert_rows()) + " expert rows");
    report.state(core[rank].fingerprint().value == digests[rank], label + ": fingerprint of a kernel");
  }
}

void check_case(BitReport& report, PlannerCase const& run, bool captures = false, int shards = 1) {
  auto const routings = draw_routings(run);
  PlannerGroup group(run, routings, blocks_of(run, shards));
  group.step();
  compare_bins(report, run.name, plans_of_core(run, routings, shards), group);
  if (!captures) return;
  PlannerCase other = run;
  other.seed += 7;
  auto const others = draw_routings(other);
  CapturedStep const captured(group.stream, [&] { group.step(); });
  group.replace(others);
  for (int repeat = 0; repeat < 2; ++repeat) captured.launch();
  compare_bins(report, run.name + " replayed", plans_of_core(run, others, shards), group);
}

void check_bins(BitReport& report) {
  for (auto const bins : {ExpertBins::exact, ExpertBins::blocks, ExpertBins::capacity}) {
    check_case(report, bins_case(bins, 2, 4, 2, {3, 5}), true);
    check_case(report, bins_case(bins, 1, 8, 2, {33}), true);
    check_case(report, bins_case(bins, 3, 3, 2, {0, 31, 64}));
    check_case(report, bins_case(bins, 4, 16, 1, {0}));
    check_case(report, bins_case(bins, 1, 1, 1, {5}));
    if (takes_few_cases()) continue;
    check_case(report, bins_case(bins, 4, 32, 4, {300, 1, 77}));
    auto shards = bins_case(bins, 4, 8, 2, {20, 20, 3, 0});
    shards.name += " 2 hidden shards";
    shards.config.max_expert_rows = 2000;
    check_case(report, shards, true, 2);
    auto whole = bins_case(bins, 3, 4, 2, {17, 5, 9});
    whole.name += " one block";
    whole.config.max_expert_rows = 2000;
    check_case(report, whole, false, 3);
    auto one = bins_case(bins, 2, 8, 8, {100});
    one.one_expert = true;
    // Two bins of what is left: the fullest expert's rows, once per local expert.
    one.config.max_expert_rows = 1600 * 4;
    one.name += " one expert";
    check_case(report, one);
    auto replicas = bins_case(bins, 2, 6, 3, {90, 40});
    replicas.replicas = 2;
    replicas.config.max_expert_rows = 4000;
    check_case(report, replicas);
  }
}

/// Factors that drop rows, that drop none, and that truncate to a capacity of 0.
void check_capacities(BitReport& report) {
  for (double const factor : {0.01, 0.3, 1.0, 2.0})
    for (auto const zero : {ZeroCapacity::largest_count, ZeroCapacity::no_rows})
      for (int const ranks : {1, 2}) {
        if (takes_few_cases() && (ranks == 1 || factor > 0.5)) continue;
        auto run = bins_case(ExpertBins::capacity, ranks, 8, 3, {50, 20});
        run.config.megablocks.capacity_factor = factor;
        run.config.megablocks.zero_capacity = zero;
        run.config.max_expert_rows = 8 * 600;
        run.name += " factor " + std::to_string(factor) + (zero == ZeroCapacity::no_rows ? " zero means none" : "");
        check_case(report, run);
      }
}

void check_overflow(BitReport& report) {
  auto run = bins_case(ExpertBins::blocks, 2, 2, 1, {50});
  run.one_expert = true;
  run.dropped = 0;
  run.config.max_expert_rows = 60;
  PlannerGroup group(run, draw_routings(run), placement_of(run));
  group.step();
  std::string text;
  try {
    group.planners[0].check(group.stream);
  } catch (Error const& error) {
    text = error.what();
  }
  report.state(text.find("would receive 100 expert rows but has room for 60") != std::string::npos,
               "bins that do not fit say the size required: " + text);
}

int run_all() {
  BitReport report;
  check_bins(report);
  check_capacities(report);
  check_overflow(report);
  std::printf("%s: %d checks, %d failed\n", cuda::describe_device().c_str(), report.checks(), report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
