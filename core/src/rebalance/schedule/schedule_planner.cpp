// SPDX-License-Identifier: Apache-2.0
#include "switchyard/rebalance/schedule_planner.hpp"

#include <algorithm>
#include <utility>

#include "../request_problems.hpp"
#include "layer_builder.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard {
namespace rebalance {
namespace {

bool is_buffered(ScheduleLimits const& limits) {
  return limits.spare_rows == ScheduleLimits::kFullyBuffered;
}

void check_options(ScheduleOptions const& options, int num_ranks) {
  SWITCHYARD_REQUIRE(options.rates.network_bytes_per_us >= 1 && options.rates.intra_bytes_per_us >= 1, invalid_argument,
                     "link rates of {} and {} bytes per microsecond; both are at least 1",
                     options.rates.network_bytes_per_us, options.rates.intra_bytes_per_us);
  SWITCHYARD_REQUIRE(!options.topology || options.topology->num_ranks() == num_ranks, shape_mismatch,
                     "the topology is for {} ranks, the group that moves has {}; when scaling, count the larger group",
                     options.topology->num_ranks(), num_ranks);
  SWITCHYARD_REQUIRE(options.spare_rows >= 1 || options.spare_rows == ScheduleLimits::kFullyBuffered, invalid_argument,
                     "{} spare rows per rank; swaps and cycles need at least 1, {} means full buffering",
                     options.spare_rows, ScheduleLimits::kFullyBuffered);
  SWITCHYARD_REQUIRE(options.max_transfers_per_round >= 0 && options.expert_bytes >= 0, invalid_argument,
                     "a limit of {} transfers per round and experts of {} bytes; neither may be negative",
                     options.max_transfers_per_round, options.expert_bytes);
  SWITCHYARD_REQUIRE(
      options.senders == SenderRule::balanced || options.spare_rows == ScheduleLimits::kFullyBuffered, invalid_argument,
      "compatible senders with {} spare rows: with fewer than full buffering the order of overwriting decides who "
      "can send; use balanced senders or full buffering",
      options.spare_rows);
}

/// More spare rows than slots have no use.
int useful_spare_rows(int spare_rows, SlotLayout const& layout) {
  int most = 1;
  for (RankId rank(0); rank.value() < layout.num_ranks(); ++rank) most = std::max(most, layout.slots_of(rank));
  return std::min(spare_rows, most);
}

ScheduleLimits limits_of(ScheduleOptions const& options, SlotLayout const& layout) {
  ScheduleLimits limits;
  limits.max_transfers_per_round = options.max_transfers_per_round;
  limits.spare_rows = useful_spare_rows(options.spare_rows, layout);
  if (!options.topology) return limits;
  limits.num_nodes = options.topology->num_nodes();
  bool const two_tiers = limits.num_nodes > 1 && options.topology->ranks_per_node() > 1;
  if (two_tiers) {
    auto const ratio = options.rates.intra_bytes_per_us / options.rates.network_bytes_per_us;
    limits.intra_per_round = static_cast<int>(std::clamp<std::int64_t>(ratio, 1, kMaxIntraPerRound));
  }
  return limits;
}

class Planner {
 public:
  Planner(RebalanceSchedule& schedule, ScheduleOptions const& options)
      : schedule_(schedule), options_(options), tiers_(schedule.before.num_ranks(), schedule.limits) {}

  void run() {
    RebalancePlan compatible;
    if (options_.senders == SenderRule::compatible) compatible = plan_rebalance(schedule_.before, schedule_.after);
    for (int layer = 0; layer < schedule_.before.num_layers(); ++layer) {
      LayerNeeds const needs(schedule_.before, schedule_.after, layer);
      auto const guardians = assign_guardians(needs, schedule_.before.num_ranks());
      LayerSchedule built = options_.senders == SenderRule::compatible
                                ? colour(layer, needs, guardians, hops_of(compatible.layers[to_size(layer)]))
                                : plan_layer(layer, needs, guardians);
      built.bound = find_bound(needs, tiers_, guardians);
      built.spare_rows_used = count_spare_rows(built);
      schedule_.layers.push_back(std::move(built));
    }
  }

 private:
  using Guardians = EvenAssignment;

  LayerBuilder builder(int layer, LayerNeeds const& needs, Guardians const& guardians) const {
    return {schedule_, layer, tiers_, needs, guardians.chosen};
  }

  LayerSchedule plan_layer(int layer, LayerNeeds const& needs, Guardians const& guardians) const {
    if (!is_buffered(schedule_.limits)) return plan_few_rows(layer, needs, guardians);
    return tiers_.one_tier() ? plan_one_tier(layer, needs, guardians) : plan_two_tiers(layer, needs, guardians);
  }

  /// One tier: follows the rounds that full buffering would have as far as rows allow.
  LayerSchedule plan_few_rows(int layer, LayerNeeds const& needs, Guardians const& guardians) const {
    if (!tiers_.one_tier()) return builder(layer, needs, guardians).build();
    auto const direct = choose_direct_senders(needs);
    auto const script = rounds_of(direct.hops, {});
    LayerSchedule followed = builder(layer, needs, guardians).build(&script);
    if (direct.largest <= direct.largest_receives) return followed;
    LayerSchedule chosen = builder(layer, needs, guardians).build();
    return chosen.rounds.size() < followed.rounds.size() ? chosen : followed;
  }

  LayerSchedule plan_one_tier(int layer, LayerNeeds const& needs, Guardians const& guardians) const {
    auto const direct = choose_direct_senders(needs);
    if (!options_.forwarding || direct.largest <= direct.largest_receives)
      return colour(layer, needs, guardians, direct.hops);
    LayerSchedule forwarded = builder(layer, needs, guardians).build();
    if (std::cmp_less_equal(forwarded.rounds.size(), direct.largest)) return forwarded;
    return colour(layer, needs, guardians, direct.hops);
  }

  LayerSchedule plan_two_tiers(int layer, LayerNeeds const& needs, Guardians const& guardians) const {
    auto const hops = choose_network_hops(needs, tiers_);
    std::vector<int> weight;
    for (Hop const& hop : hops) weight.push_back(static_cast<int>(needs.of_expert[hop.expert.index()].size()));
    auto const script = rounds_of(hops, weight);
    LayerSchedule direct = builder(layer, needs, guardians).build(&script);
    if (!options_.forwarding) return direct;
    LayerSchedule forwarded = builder(layer, needs, guardians).build();
    return forwarded.rounds.size() < direct.rounds.size() ? forwarded : direct;
  }

  LayerSchedule colour(int layer, LayerNeeds const& needs, Guardians const& guardians,
                       std::vector<Hop> const& hops) const {
    return builder(layer, needs, guardians).replay(rounds_of(hops, {}));
  }

  RoundScript rounds_of(std::vector<Hop> const& hops, std::vector<int> const& weight) const {
    return put_into_rounds(hops, weight, schedule_.before.num_ranks(), schedule_.limits.max_transfers_per_round);
  }

  int count_spare_rows(LayerSchedule const& layer) const {
    int used = 0;
    auto const note = [&](RankId rank, LocalExpertId row) {
      used = std::max(used, row.value() + 1 - schedule_.before.layout().slots_of(rank));
    };
    for (TransferRound const& round : layer.rounds) {
      for (RowTransfer const& transfer : round.transfers) note(transfer.to, transfer.target_row);
      for (RowCopy const& copy : round.copies) note(copy.rank, copy.target_row);
    }
    for (RowCopy const& copy : layer.commit) note(copy.rank, copy.target_row);
    return used;
  }

  RebalanceSchedule& schedule_;
  ScheduleOptions const& options_;
  Tiers tiers_;
};

std::vector<RankId> sorted_ranks(std::vector<RankId> ranks) {
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

}  // namespace
}  // namespace rebalance

RebalanceSchedule plan_schedule(ExpertPlacement const& before, ExpertPlacement const& after, RankMapping const& mapping,
                                ScheduleOptions const& options) {
  auto expanded = expand_placements(before, after, mapping);
  rebalance::check_options(options, expanded.before.num_ranks());
  auto move = keep_reachable(expanded.before, expanded.after, options.dead_ranks);
  if (options.missing == MissingExperts::refuse && !move.reloads.empty()) {
    auto const alive = keep_reachable(expanded.after, expanded.after, options.dead_ranks).after;
    rebalance::require_sources({move.before, alive});
  }
  auto const limits = rebalance::limits_of(options, expanded.before.layout());
  RebalanceSchedule schedule{std::move(move.before),
                             std::move(move.after),
                             mapping,
                             rebalance::sorted_ranks(options.dead_ranks),
                             std::move(move.reloads),
                             limits,
                             options.expert_bytes,
                             {}};
  if (schedule.before.num_ranks() > 0) rebalance::Planner(schedule, options).run();
  return schedule;
}

}  // namespace switchyard
