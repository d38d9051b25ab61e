// SPDX-License-Identifier: Apache-2.0
/// Rebalances of groups whose members change: a rank that died, ranks that join, ranks that leave; for any number of
/// ranks and any group that can carry them out.
///
/// By hand, 2 living ranks of 3: ranks 0, 1 and 2 hold experts (0, 1), (1, 2) and (2, 0), and rank 1 dies. Ranks 0 and
/// 2 shall hold (1, 0) and (0, 2): rank 0 only changes the order, rank 2 has both.
#pragma once

#include <string>
#include <vector>

#include "rebalance_pair.hpp"

namespace cross_backend {

/// Two slots on every rank.
inline ExpertPlacement pairs_of_slots(int ranks, int experts, std::vector<int> const& ids) {
  std::vector<ExpertId> slots;
  for (int const id : ids) slots.emplace_back(id);
  return {1, experts, SlotLayout(std::vector<std::int32_t>(static_cast<std::size_t>(ranks), 2)), std::move(slots)};
}

struct DeadRank {
  RebalanceSchedule schedule;
  std::vector<RankId> living;  ///< who the ranks of the group are in the plan
};

/// Every expert lives on two neighbours; rank 1 is dead and the others share its experts.
inline DeadRank without_rank_one(int living) {
  int const ranks = living + 1;
  std::vector<int> before;
  std::vector<int> after;
  std::vector<RankId> members;
  for (int rank = 0; rank < ranks; ++rank) {
    before.insert(before.end(), {rank, (rank + 1) % ranks});
    int const next = 2 * static_cast<int>(members.size());
    if (rank == 1) after.insert(after.end(), {-1, -1});
    if (rank != 1) after.insert(after.end(), {(next + 1) % ranks, next % ranks});
    if (rank != 1) members.emplace_back(rank);
  }
  return {plan_schedule(pairs_of_slots(ranks, ranks, before), pairs_of_slots(ranks, ranks, after), {},
                        {.dead_ranks = {RankId(1)}}),
          members};
}

struct Scaling {
  RebalancePlan up;
  RebalancePlan down;
};

/// Half of `ranks` ranks, at least one, become `ranks`, and these as few again, in another order.
inline Scaling scaling_of(int ranks) {
  int const few = ranks < 2 ? 1 : ranks / 2;
  int const experts = 2 * few;
  std::vector<int> small;
  std::vector<int> large;
  for (int slot = 0; slot < experts; ++slot) small.push_back(slot);
  for (int slot = 0; slot < 2 * ranks; ++slot) large.push_back((slot + 1 + slot / experts) % experts);
  std::vector<RankId> joined;
  std::vector<RankId> left(static_cast<std::size_t>(ranks), RankId(-1));
  for (int rank = 0; rank < few; ++rank) {
    int const place = rank * ranks / few;
    joined.emplace_back(place);
    left[static_cast<std::size_t>(place)] = RankId(few - 1 - rank);
  }
  auto const of_few = pairs_of_slots(few, experts, small);
  auto const of_all = pairs_of_slots(ranks, experts, large);
  return {plan_rebalance(of_few, of_all, {ScaleMode::scale_up, joined}),
          plan_rebalance(of_all, of_few, {ScaleMode::scale_down, left})};
}

/// One rank of a group of `ranks` through all of them. @param links of the ranks that live
inline void change_members(PairReport& report, DeadRank const& dead, Scaling const& scaling,
                           cuda::RebalanceLinks const& links) {
  RankId const me = dead.living[links.control.rank().index()];
  for (Way const way : {Way::buffered, Way::stepwise})
    rebalance_rank(report, std::string("dead rank ") + name_of(way), dead.schedule, way, links, me);
  for (Way const way : {Way::in_place, Way::buffered}) {
    rebalance_rank(report, std::string("scale up ") + name_of(way), scaling.up, way, links);
    rebalance_rank(report, std::string("scale down ") + name_of(way), scaling.down, way, links);
  }
}

}  // namespace cross_backend
