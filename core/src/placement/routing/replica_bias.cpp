// SPDX-License-Identifier: Apache-2.0
/// How unevenly a rule used the replicas, from counts of choices per slot.
#include <algorithm>
#include <numeric>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/replica_routing.hpp"

namespace switchyard {

namespace {

double par_of(double max_load, double mean_load) {
  return mean_load > 0 ? std::max(1.0, max_load / mean_load) : 1;
}

double busiest_rank(std::span<std::int64_t const> slot_choices, ExpertPlacement const& placement) {
  std::int64_t busiest = 0;
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    auto const first = to_size(placement.layout().first_slot(rank).value());
    auto const own = slot_choices.subspan(first, to_size(placement.layout().slots_of(rank)));
    busiest = std::max(busiest, std::accumulate(own.begin(), own.end(), std::int64_t{0}));
  }
  return static_cast<double>(busiest);
}

/// Choices of one expert: all, and of its busiest replica.
struct ExpertUse {
  std::int64_t total = 0;
  std::int64_t busiest = 0;
};

ExpertUse use_of(std::span<std::int64_t const> slot_choices, std::span<SlotId const> replicas) {
  ExpertUse use;
  for (SlotId const slot : replicas) {
    use.total += slot_choices[slot.index()];
    use.busiest = std::max(use.busiest, slot_choices[slot.index()]);
  }
  return use;
}

void add_shares(std::span<std::int64_t const> slot_choices, ReplicaTable const& table, ReplicaBias& bias) {
  double weighted = 0;
  double choices = 0;
  for (ExpertId expert(0); expert.value() < table.num_experts(); ++expert) {
    auto const replicas = table.replicas(expert);
    ExpertUse const use = use_of(slot_choices, replicas);
    if (replicas.size() < 2 || use.total == 0) continue;
    double const total = static_cast<double>(use.total);
    double const share = static_cast<double>(use.busiest) * static_cast<double>(replicas.size()) / total;
    bias.worst_share = std::max(bias.worst_share, share);
    weighted += share * total;
    choices += total;
  }
  if (choices > 0) bias.mean_share = weighted / choices;
}

ExpertLoad load_of(std::span<std::int64_t const> slot_choices, ReplicaTable const& table) {
  std::vector<double> loads;
  for (ExpertId expert(0); expert.value() < table.num_experts(); ++expert) {
    loads.push_back(static_cast<double>(use_of(slot_choices, table.replicas(expert)).total));
  }
  return ExpertLoad(1, 1, table.num_experts(), std::move(loads));
}

}  // namespace

std::vector<std::int64_t> count_slot_choices(ReplicaRouting const& routing, ExpertPlacement const& placement, int layer,
                                             std::span<RoutingMap const> routings) {
  SWITCHYARD_REQUIRE(routings.size() == to_size(placement.num_ranks()), shape_mismatch,
                     "{} routings for a placement of {} ranks: one per rank is needed", routings.size(),
                     placement.num_ranks());
  std::vector<std::int64_t> counts(to_size(placement.num_slots()), 0);
  std::vector<RoutingChoice> choices;
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    auto const& map = routings[rank.index()];
    SWITCHYARD_REQUIRE(map.num_experts() == placement.num_experts(), shape_mismatch,
                       "rank {} routes to {} experts, the placement has {}", rank.value(), map.num_experts(),
                       placement.num_experts());
    int const top_k = map.form() == RoutingForm::topk ? map.top_k() : map.num_experts();
    ReplicaRouter router(routing, placement, layer, {rank, rank, top_k});
    for (TokenIndex token(0); token.value() < map.num_tokens(); ++token) {
      map.choices_of(token, choices);
      for (auto const& choice : choices) ++counts[router.route(token, choice.slot, choice.expert).index()];
    }
  }
  return counts;
}

ReplicaBias measure_replica_bias(std::span<std::int64_t const> slot_choices, ExpertPlacement const& placement,
                                 int layer) {
  SWITCHYARD_REQUIRE(slot_choices.size() == to_size(placement.num_slots()), shape_mismatch,
                     "{} counts for {} slots: they must be equal", slot_choices.size(), placement.num_slots());
  ReplicaTable const table(placement, layer);
  ExpertLoad const load = load_of(slot_choices, table);
  ExpertPlacement const one_layer(1, placement.num_experts(), placement.layout(),
                                  {placement.layer(layer).begin(), placement.layer(layer).end()});
  auto const even = measure_imbalance(load, one_layer).layers.front();
  ReplicaBias bias;
  add_shares(slot_choices, table, bias);
  bias.par = par_of(busiest_rank(slot_choices, placement), even.mean_rank_load);
  bias.even_par = even.par;
  bias.best_par = par_of(fractional_split(load.at(0, 0), one_layer, 0).max_load, even.mean_rank_load);
  return bias;
}

}  // namespace switchyard
