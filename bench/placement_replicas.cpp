// SPDX-License-Identifier: Apache-2.0
// Measured bias of every replica rule, as the Markdown tables of docs/placement.md. No timing; same output everywhere.
//
// Table 1: one hot expert with c replicas that sits in choice k of a token with weight 16 8 4 2 2 1 1 1; 8 ranks of
// 4,096 tokens, top-8. Table 2: log-normal popularity (sigma 1), 256 experts, 288 slots placed by deepseek-global for
// the expected load, 32 ranks of B tokens, top-8, mean of 10 seeds.
#include <array>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "switchyard/placement/policy.hpp"
#include "switchyard/placement/replica_routing.hpp"
#include "switchyard/sim/load_generator.hpp"
#include "switchyard/sim/routing_generator.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

using switchyard::CounterRng;
using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::ReplicaBias;
using switchyard::ReplicaRouting;
using switchyard::RoutingMap;
using switchyard::SlotLayout;

constexpr int kTopK = 8;
constexpr int kNodes = 4;

std::vector<ReplicaRouting> all_rules() {
  std::vector<ReplicaRouting> rules;
  for (auto const& name : switchyard::replica_rule_names()) {
    rules.push_back({switchyard::parse_replica_rule(name), 1, kNodes});
  }
  return rules;
}

ReplicaBias bias_of(ReplicaRouting const& rule, ExpertPlacement const& placement,
                    std::vector<RoutingMap> const& routings) {
  return measure_replica_bias(count_slot_choices(rule, placement, 0, routings), placement, 0);
}

/// Which choice of a token the hot expert is.
int hot_choice(std::uint64_t draw) {
  constexpr std::array<int, kTopK> kWeights = {16, 8, 4, 2, 2, 1, 1, 1};
  auto rest = static_cast<int>(draw);
  int k = 0;
  while (rest >= kWeights[static_cast<std::size_t>(k)]) rest -= kWeights[static_cast<std::size_t>(k++)];
  return k;
}

std::vector<RoutingMap> hot_routings(int ranks, std::int64_t tokens) {
  std::vector<RoutingMap> routings;
  for (int rank = 0; rank < ranks; ++rank) {
    CounterRng const rng(5, static_cast<std::uint64_t>(rank));
    std::vector<std::int32_t> ids;
    for (std::int64_t token = 0; token < tokens; ++token) {
      int const hot = hot_choice(rng.below(static_cast<std::uint64_t>(token), 35));
      for (int k = 0; k < kTopK; ++k) ids.push_back(k == hot ? 0 : k < hot ? k + 1 : k);
    }
    std::vector<float> weights(ids.size(), 0.125F);
    routings.push_back(RoutingMap::from_topk(tokens, kTopK, kTopK, std::move(ids), std::move(weights)));
  }
  return routings;
}

/// Two slots per rank: expert 0 on the first `replicas` ranks, the others spread over what is left.
ExpertPlacement hot_placement(int ranks, int replicas) {
  std::vector<ExpertId> slots;
  int next = 0;
  for (int slot = 0; slot < 2 * ranks; ++slot) {
    bool const is_hot = slot % 2 == 0 && slot / 2 < replicas;
    slots.emplace_back(is_hot ? 0 : 1 + next++ % (kTopK - 1));
  }
  return ExpertPlacement(1, kTopK, SlotLayout::uniform(ranks, 2), std::move(slots));
}

void print_slot_skew() {
  constexpr int kRanks = 8;
  auto const routings = hot_routings(kRanks, 4096);
  std::printf("| rule | c = 2 | c = 3 | c = 4 | c = 8 |\n| --- | --- | --- | --- | --- |\n");
  for (auto const& rule : all_rules()) {
    std::printf("| %s |", std::string(to_string(rule.rule)).c_str());
    for (int const replicas : {2, 3, 4, 8}) {
      auto const placement = hot_placement(kRanks, replicas);
      auto const counts = count_slot_choices(rule, placement, 0, routings);
      std::int64_t busiest = 0;
      std::int64_t total = 0;
      for (int rank = 0; rank < replicas; ++rank) {
        std::int64_t const count = counts[2 * static_cast<std::size_t>(rank)];
        busiest = count > busiest ? count : busiest;
        total += count;
      }
      std::printf(" %.3f |", static_cast<double>(busiest * replicas) / static_cast<double>(total));
    }
    std::printf("\n");
  }
}

struct Instance {
  ExpertPlacement placement;
  std::vector<RoutingMap> routings;
};

Instance log_normal_instance(std::int64_t tokens_per_rank, std::uint64_t seed) {
  constexpr int kRanks = 32;
  switchyard::sim::LoadSpec load;
  load.num_layers = 1;
  load.sigma = {{0.0, 1.0}};
  load.seed = seed;
  auto const popularity = switchyard::sim::expert_popularity(load, 0, 0);
  switchyard::sim::RoutingSpec spec;
  spec.top_k = kTopK;
  spec.tokens_of_rank.assign(kRanks, tokens_per_rank);
  spec.expert_weights = popularity;
  spec.seed = seed;
  auto const policy = switchyard::make_policy("deepseek-global");
  auto placement = policy->place(generate_load(load), {kRanks, 288, 1, 1});
  return {std::move(placement), generate_routing(spec)};
}

constexpr std::array<std::int64_t, 4> kBatches = {1, 8, 128, 1024};
constexpr int kSeeds = 10;

void print_batches() {
  auto const rules = all_rules();
  std::vector<std::array<double, kBatches.size()>> par(rules.size() + 2, std::array<double, kBatches.size()>{});
  for (std::size_t batch = 0; batch < kBatches.size(); ++batch) {
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
      auto const instance = log_normal_instance(kBatches[batch], seed);
      ReplicaBias bias;
      for (std::size_t rule = 0; rule < rules.size(); ++rule) {
        bias = bias_of(rules[rule], instance.placement, instance.routings);
        par[rule][batch] += bias.par / kSeeds;
      }
      par[rules.size()][batch] += bias.even_par / kSeeds;
      par[rules.size() + 1][batch] += bias.best_par / kSeeds;
    }
  }
  std::printf("| rule | B = 1 | B = 8 | B = 128 | B = 1024 |\n| --- | --- | --- | --- | --- |\n");
  for (std::size_t row = 0; row < par.size(); ++row) {
    std::string const name = row < rules.size()    ? std::string(to_string(rules[row].rule))
                             : row == rules.size() ? "even shares"
                                                   : "best fractional split (bound)";
    std::printf("| %s |", name.c_str());
    for (double const value : par[row]) std::printf(" %.3f |", value);
    std::printf("\n");
  }
}

}  // namespace

int main() {
  std::printf("Busiest replica of the hot expert over its fair share:\n\n");
  print_slot_skew();
  std::printf("\nPAR of rank loads, 32 ranks:\n\n");
  print_batches();
  return 0;
}
