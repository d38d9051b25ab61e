// SPDX-License-Identifier: Apache-2.0
/// The proofs of a schedule: its frame (sizes, limits, dead ranks, reloads), every layer's replay and its bound.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include "../request_problems.hpp"
#include "schedule_replay.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

using Violations = std::vector<PlanViolation>;

void add(Violations& out, PlanRule rule, std::string text) {
  out.push_back({rule, -1, RankId(-1), std::move(text)});
}

void check_limits(RebalanceSchedule const& schedule, Violations& out) {
  ScheduleLimits const& limits = schedule.limits;
  int const ranks = schedule.before.num_ranks();
  if (limits.num_nodes < 0 || limits.num_nodes > ranks || (limits.num_nodes > 0 && ranks % limits.num_nodes != 0))
    add(out, PlanRule::wrong_claim, fmt::format("{} nodes do not share {} ranks evenly", limits.num_nodes, ranks));
  if (limits.intra_per_round < 1 || limits.intra_per_round > rebalance::kMaxIntraPerRound ||
      limits.max_transfers_per_round < 0 || schedule.expert_bytes < 0)
    add(out, PlanRule::wrong_claim,
        fmt::format("{} transfers inside a node, at most {} per round, experts of {} bytes: out of range",
                    limits.intra_per_round, limits.max_transfers_per_round, schedule.expert_bytes));
  int most_slots = 1;
  for (RankId rank(0); rank.value() < ranks; ++rank)
    most_slots = std::max(most_slots, schedule.before.layout().slots_of(rank));
  bool const buffered = limits.spare_rows == ScheduleLimits::kFullyBuffered;
  if (!buffered && (limits.spare_rows < 1 || limits.spare_rows > most_slots))
    add(out, PlanRule::wrong_claim,
        fmt::format("{} spare rows per rank, outside [1, {}]", limits.spare_rows, most_slots));
}

void check_dead_ranks(RebalanceSchedule const& schedule, Violations& out) {
  RankId last(-1);
  for (RankId const rank : schedule.dead_ranks) {
    if (rank <= last || rank.value() >= schedule.before.num_ranks()) {
      add(out, PlanRule::dead_rank,
          fmt::format("dead rank {} is repeated, out of order or outside [0, {})", rank.value(),
                      schedule.before.num_ranks()));
      return;
    }
    last = rank;
    for (int layer = 0; layer < schedule.before.num_layers(); ++layer) {
      for (auto const* placement : {&schedule.before, &schedule.after}) {
        auto const slots = placement->rank_slots(layer, rank);
        if (std::any_of(slots.begin(), slots.end(), [](ExpertId expert) { return expert != kNoExpert; }))
          out.push_back(
              {PlanRule::dead_rank, layer, rank,
               fmt::format("layer {}, rank {}: the rank is dead, but slots of it hold experts", layer, rank.value())});
      }
    }
  }
}

/// @return what is wrong with one reload, or nothing.
std::string problem_of(Reload const& reload, RebalanceSchedule const& schedule) {
  auto const& [layer, rank, row, expert] = reload;
  if (layer < 0 || layer >= schedule.before.num_layers() || !rank.valid() ||
      rank.value() >= schedule.before.num_ranks() || !row.valid() ||
      row.value() >= schedule.before.layout().slots_of(rank) || !expert.valid() ||
      expert.value() >= schedule.before.num_experts())
    return "names something that does not exist";
  if (schedule.after.rank_slots(layer, rank)[row.index()].valid()) return "is of a slot that the schedule fills";
  if (std::binary_search(schedule.dead_ranks.begin(), schedule.dead_ranks.end(), rank)) return "is of a dead rank";
  auto const held = schedule.before.layer(layer);
  return std::find(held.begin(), held.end(), expert) == held.end() ? "" : "is of an expert that a rank holds";
}

void check_reloads(RebalanceSchedule const& schedule, Violations& out) {
  auto const place = [](Reload const& reload) { return std::tuple(reload.layer, reload.rank, reload.row); };
  for (std::size_t i = 0; i < schedule.reloads.size(); ++i) {
    Reload const& reload = schedule.reloads[i];
    std::string problem = problem_of(reload, schedule);
    if (i > 0 && place(reload) <= place(schedule.reloads[i - 1])) problem = "is repeated or out of order";
    if (!problem.empty())
      out.push_back({PlanRule::wrong_reload, reload.layer, reload.rank,
                     fmt::format("the reload of expert {} in layer {}, rank {}, row {} {}", reload.expert.value(),
                                 reload.layer, reload.rank.value(), reload.row.value(), problem)});
  }
}

/// Recounts what a bound's witness claims, from the placements alone.
class BoundCheck {
 public:
  BoundCheck(RebalanceSchedule const& schedule, int layer, rebalance::Tiers const& tiers) : tiers_(tiers) {
    for (RankId rank(0); rank.value() < schedule.before.num_ranks(); ++rank) {
      auto const before = schedule.before.rank_slots(layer, rank);
      for (ExpertId const expert : before) held_.insert({expert, rank});
      for (ExpertId const expert : schedule.after.rank_slots(layer, rank))
        if (expert.valid() && std::find(before.begin(), before.end(), expert) == before.end())
          lacked_.insert({expert, rank});
    }
  }

  /// @return the rounds that the witness proves; -1 when it is no witness of its kind.
  [[nodiscard]] int proved_rounds(RoundBound const& bound) const {
    if (!std::is_sorted(bound.ranks.begin(), bound.ranks.end(), std::less_equal<>{})) return -1;
    auto const ranks = static_cast<int>(bound.ranks.size());
    switch (bound.kind) {
      case BoundKind::none: return ranks == 0 ? 0 : -1;
      case BoundKind::receive: return ranks == 1 ? ceil_div(count_imports(bound.ranks), tiers_.ports()) : -1;
      case BoundKind::node: return is_node(bound.ranks) ? ceil_div(count_imports(bound.ranks), ranks) : -1;
      case BoundKind::send:
        return ranks > 0 ? ceil_div(count_exports(bound.ranks), std::int64_t{ranks} * tiers_.ports()) : -1;
      case BoundKind::spread: return ranks == 0 && bound.expert.valid() ? spread(bound.expert) : -1;
    }
    return -1;
  }

 private:
  using Pairs = std::set<std::pair<ExpertId, RankId>>;

  static int ceil_div(std::int64_t amount, std::int64_t per_round) {
    return static_cast<int>((amount + per_round - 1) / per_round);
  }
  static bool contains(std::vector<RankId> const& ranks, RankId rank) {
    return std::binary_search(ranks.begin(), ranks.end(), rank);
  }
  static std::vector<RankId> ranks_of(Pairs const& pairs, ExpertId expert) {
    std::vector<RankId> ranks;
    for (auto it = pairs.lower_bound({expert, RankId(-1)}); it != pairs.end() && it->first == expert; ++it)
      ranks.push_back(it->second);
    return ranks;
  }
  [[nodiscard]] std::set<ExpertId> lacked_experts() const {
    std::set<ExpertId> experts;
    for (auto const& [expert, rank] : lacked_) experts.insert(expert);
    return experts;
  }
  [[nodiscard]] bool is_node(std::vector<RankId> const& ranks) const {
    if (tiers_.one_tier() || ranks.size() != to_size(tiers_.ranks_per_node())) return false;
    if (!ranks.front().valid() || ranks.back().value() >= tiers_.num_nodes() * tiers_.ranks_per_node()) return false;
    return tiers_.same_node(ranks.front(), ranks.back());
  }

  /// Experts that some of the ranks lack and none of them holds.
  [[nodiscard]] int count_imports(std::vector<RankId> const& ranks) const {
    std::set<ExpertId> imports;
    for (auto const& [expert, rank] : lacked_)
      if (contains(ranks, rank)) imports.insert(expert);
    return static_cast<int>(std::count_if(imports.begin(), imports.end(), [&](ExpertId expert) {
      auto const holders = ranks_of(held_, expert);
      return std::none_of(holders.begin(), holders.end(), [&](RankId rank) { return contains(ranks, rank); });
    }));
  }

  /// Experts that somebody lacks and only these ranks hold.
  [[nodiscard]] int count_exports(std::vector<RankId> const& ranks) const {
    auto const experts = lacked_experts();
    return static_cast<int>(std::count_if(experts.begin(), experts.end(), [&](ExpertId expert) {
      auto const holders = ranks_of(held_, expert);
      return std::all_of(holders.begin(), holders.end(), [&](RankId rank) { return contains(ranks, rank); });
    }));
  }

  [[nodiscard]] int spread(ExpertId expert) const {
    auto copies = static_cast<std::int64_t>(ranks_of(held_, expert).size());
    auto const goal = copies + static_cast<std::int64_t>(ranks_of(lacked_, expert).size());
    if (copies == 0) return -1;
    int rounds = 0;
    for (; copies < goal; ++rounds) copies *= 1 + tiers_.ports();
    return rounds;
  }

  rebalance::Tiers const& tiers_;
  Pairs held_{};
  Pairs lacked_{};
};

void check_bound(RebalanceSchedule const& schedule, int layer, Violations& out) {
  RoundBound const& bound = schedule.layers[to_size(layer)].bound;
  rebalance::Tiers const tiers(schedule.before.num_ranks(), schedule.limits);
  int const proved = BoundCheck(schedule, layer, tiers).proved_rounds(bound);
  if (proved == bound.rounds) return;
  out.push_back({PlanRule::wrong_claim, layer, RankId(-1),
                 fmt::format("layer {}: a lower bound of {} rounds is stated ({}), its witness proves {}", layer,
                             bound.rounds, to_string(bound.kind), proved)});
}

}  // namespace

std::vector<PlanViolation> validate(RebalanceSchedule const& schedule) {
  rebalance::PlanFrame const frame{schedule.before, schedule.after, schedule.mapping, schedule.layers.size()};
  Violations all = rebalance::find_frame_size_problems(frame);
  if (!all.empty()) return all;
  all = rebalance::find_frame_problems(frame);
  check_limits(schedule, all);
  check_dead_ranks(schedule, all);
  check_reloads(schedule, all);
  if (!all.empty()) return all;
  for (int layer = 0; layer < schedule.before.num_layers() && schedule.before.num_ranks() > 0; ++layer) {
    auto found = std::move(rebalance::ScheduleReplay(schedule, layer).violations());
    all.insert(all.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
    check_bound(schedule, layer, all);
  }
  return all;
}

void require_valid(RebalanceSchedule const& schedule) {
  rebalance::require_none(validate(schedule));
}

}  // namespace switchyard
