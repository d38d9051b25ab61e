// SPDX-License-Identifier: Apache-2.0
// Rounds of scheduled rebalances against their bounds, as the Markdown tables of docs/rebalance.md. Everything but the
// times is the same on every machine.
//
// Moves: `reshuffle` = a fresh deepseek-global plan for loads (log-normal, sigma 0.7) to one for the loads one step of
// drift 0.2 later; `32 swaps` = 32 random swaps of two slots per layer. 58 layers, 256 experts, 288 slots; the largest
// case is one layer of 4,096 experts on 4,096 ranks.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"
#include "switchyard/sim/load_generator.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

using switchyard::CounterRng;
using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::PolicyRequest;
using switchyard::RebalanceSchedule;
using switchyard::ScheduleOptions;
using switchyard::ScheduleTotals;
using switchyard::SenderRule;
using switchyard::Topology;

constexpr std::int64_t kExpertBytes = 44'040'192;  // DeepSeek-V3 in fp8
constexpr int kRanksPerNode = 8;

struct Move {
  std::string name;
  ExpertPlacement before;
  ExpertPlacement after;
};

ExpertPlacement place(int layers, int experts, int slots, int ranks, int step) {
  switchyard::sim::LoadSpec spec;
  spec.num_steps = 2;
  spec.num_layers = layers;
  spec.num_experts = experts;
  spec.tokens_per_step = 65536;
  spec.sigma = {{0.0, 0.7}};
  spec.drift_sigma = 0.2;
  auto const all = generate_load(spec);
  std::vector<double> values;
  for (int layer = 0; layer < layers; ++layer) {
    auto const of_layer = all.at(step, layer);
    values.insert(values.end(), of_layer.begin(), of_layer.end());
  }
  PolicyRequest request;
  request.num_ranks = ranks;
  request.num_slots = slots;
  return deepseek_rebalance(ExpertLoad(1, layers, experts, std::move(values)), request, false).placement;
}

Move reshuffle(int layers, int experts, int slots, int ranks) {
  return {"reshuffle", place(layers, experts, slots, ranks, 0), place(layers, experts, slots, ranks, 1)};
}

Move swaps(int ranks) {
  auto const before = place(58, 256, 288, ranks, 0);
  auto const ids = before.slot_to_expert();
  std::vector<ExpertId> slots(ids.begin(), ids.end());
  for (std::uint64_t layer = 0; layer < 58; ++layer)
    for (std::uint64_t i = 0; i < 32; ++i)
      std::swap(slots[layer * 288 + CounterRng(1, layer).below(2 * i, 288)],
                slots[layer * 288 + CounterRng(1, layer).below(2 * i + 1, 288)]);
  return {"32 swaps", before, ExpertPlacement(58, 256, before.layout(), std::move(slots))};
}

struct Planned {
  ScheduleTotals sums;
  double milliseconds;
};

Planned plan(Move const& move, ScheduleOptions options) {
  options.expert_bytes = kExpertBytes;
  std::vector<double> times;
  RebalanceSchedule schedule;
  for (int run = 0; run < 3; ++run) {
    auto const start = std::chrono::steady_clock::now();
    schedule = plan_schedule(move.before, move.after, {}, options);
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  if (!validate(schedule).empty()) std::printf("INVALID: %s\n", validate(schedule).front().text.c_str());
  return {totals(schedule), times[1]};
}

void print_row(Move const& move, std::string const& links, std::string const& how, ScheduleOptions const& options) {
  auto const [sums, milliseconds] = plan(move, options);
  auto const ratio = [&](std::int64_t base) {
    return base == 0 ? 1.0 : static_cast<double>(sums.rounds) / static_cast<double>(base);
  };
  std::printf("| %s, %d ranks | %s | %s | %lld | %lld | %lld | %.3f | %.3f | %lld | %lld | %lld | %.0f |\n",
              move.name.c_str(), move.before.num_ranks(), links.c_str(), how.c_str(),
              static_cast<long long>(sums.rounds), static_cast<long long>(sums.max_degree),
              static_cast<long long>(sums.bound_rounds), ratio(sums.max_degree), ratio(sums.bound_rounds),
              static_cast<long long>(sums.network_transfers), static_cast<long long>(sums.intra_transfers),
              static_cast<long long>(sums.peak_extra_bytes >> 20), milliseconds);
}

void print_move(Move const& move) {
  for (bool const two_tiers : {false, true}) {
    ScheduleOptions options;
    int const ranks = move.before.num_ranks();
    if (two_tiers) options.topology = Topology(ranks, ranks / kRanksPerNode);
    std::string const links = two_tiers ? "8 per node" : "all alike";
    options.senders = SenderRule::compatible;
    if (!two_tiers) print_row(move, links, "full, compatible senders", options);
    options.senders = SenderRule::balanced;
    options.forwarding = false;
    if (!two_tiers) print_row(move, links, "full, no forwarding", options);
    options.forwarding = true;
    print_row(move, links, "full", options);
    for (int const spare_rows : {4, 2, 1}) {
      options.spare_rows = spare_rows;
      print_row(move, links, std::to_string(spare_rows), options);
    }
  }
}

}  // namespace

int main() {
  std::printf(
      "| move | links | spare rows | rounds | max degree | bound | rounds / degree | rounds / bound | network | in "
      "node | "
      "extra MiB per rank | plan ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (int const ranks : {32, 72, 144}) print_move(reshuffle(58, 256, 288, ranks));
  for (int const ranks : {32, 144}) print_move(swaps(ranks));
  print_move(reshuffle(1, 4096, 36864, 4096));
  return 0;
}
