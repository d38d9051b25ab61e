// SPDX-License-Identifier: Apache-2.0
// Scaling a group whose ranks have different numbers of slots: a rank that continues keeps its slots under its new
// number; ranks that join or leave bring or take any number.
//
// Worked example, scale_up: old ranks 0 and 1 have 2 and 1 slots and hold 0 1 | 2; they become new ranks 2 and 0, and
// rank 1 joins with 3 slots. In the new group's slot space `before` is 2 | - - - | 0 1. Towards 2 | 0 1 2 | 1 0 rank 1
// receives all three experts and rank 2 swaps its rows.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "support/error_text.hpp"
#include "support/rebalance_cases.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"

using namespace switchyard;
using oracle::Ints;

namespace {

struct Scaling {
  Ints old_slots{};
  Ints new_slots{};
  Ints new_rank_of{};  // -1 = leaves
  ScaleMode mode = ScaleMode::scale_up;
};

std::vector<RankId> rank_ids(Ints const& ranks) {
  std::vector<RankId> ids;
  for (int const rank : ranks) ids.emplace_back(rank);
  return ids;
}

/// Blocks of `source` put where `to` says, in plain loops; -1 elsewhere.
Ints moved_blocks(Ints const& source, Ints const& source_slots, Ints const& target_slots, Ints const& to) {
  Ints moved(oracle::at(std::accumulate(target_slots.begin(), target_slots.end(), 0)), -1);
  int from = 0;
  for (std::size_t block = 0; block < source_slots.size(); ++block) {
    for (int row = 0; row < source_slots[block]; ++row) {
      if (to[block] < 0) continue;
      int const first = std::accumulate(target_slots.begin(), target_slots.begin() + to[block], 0);
      moved[oracle::at(first + row)] = source[oracle::at(from + row)];
    }
    from += source_slots[block];
  }
  return moved;
}

Ints inverse(Ints const& new_rank_of, std::size_t new_ranks) {
  Ints old_rank_of(new_ranks, -1);
  for (std::size_t old = 0; old < new_rank_of.size(); ++old)
    if (new_rank_of[old] >= 0) old_rank_of[oracle::at(new_rank_of[old])] = static_cast<int>(old);
  return old_rank_of;
}

/// Ranks with 0 to 4 slots. Scaling down every new rank continues an old one; scaling up some may join.
Scaling random_scaling(ScaleMode mode) {
  Scaling scaling;
  scaling.mode = mode;
  int const small = support::draw(1, 5);
  int const large = support::draw(small, 7);
  Ints large_slots = support::draw_list(oracle::at(large), 0, 5);
  Ints order(oracle::at(large));
  std::iota(order.begin(), order.end(), 0);
  auto const keys = support::draw_list(oracle::at(large), 0, 1000);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return keys[oracle::at(a)] < keys[oracle::at(b)]; });
  Ints small_slots;
  for (int rank = 0; rank < small; ++rank) small_slots.push_back(large_slots[oracle::at(order[oracle::at(rank)])]);
  Ints const large_rank_of(order.begin(), order.begin() + small);
  bool const up = mode == ScaleMode::scale_up;
  scaling.old_slots = up ? small_slots : large_slots;
  scaling.new_slots = up ? large_slots : small_slots;
  scaling.new_rank_of = up ? large_rank_of : inverse(large_rank_of, oracle::at(large));
  return scaling;
}

}  // namespace

TEST_CASE("the worked example joins a rank with three slots") {
  auto const before = support::to_placement(3, {2, 1}, {{0, 1, 2}});
  auto const after = support::to_placement(3, {1, 3, 2}, {{2, 0, 1, 2, 1, 0}});
  RankMapping const mapping{ScaleMode::scale_up, rank_ids({2, 0})};
  auto const plan = plan_rebalance(before, after, mapping);
  CHECK(plan.before == support::to_placement(3, {1, 3, 2}, {{2, -1, -1, -1, 0, 1}}));
  CHECK(plan.layers[0].ranks[1].receives.size() == 3);
  CHECK(plan.layers[0].ranks[2].local_copies.size() == 2);
  CHECK(start_placement(plan) == before);
  CHECK(target_placement(plan) == after);
  CHECK(validate(plan).empty());
  // Back again: rank 1 leaves with its three slots.
  auto const back = plan_rebalance(after, before, {ScaleMode::scale_down, rank_ids({1, -1, 0})});
  CHECK(back.after == support::to_placement(3, {1, 3, 2}, {{2, -1, -1, -1, 0, 1}}));
  CHECK(target_placement(back) == before);
  CHECK(start_placement(back) == after);
  CHECK(validate(back).empty());
}

TEST_CASE("a rank that continues with other slots is named") {
  auto const before = support::to_placement(2, {2, 1}, {{0, 1, 1}});
  auto const after = support::to_placement(2, {1, 1, 2}, {{0, 1, 0, 1}});
  auto const text = support::error_text(ErrorCode::shape_mismatch, [&] {
    return plan_rebalance(before, after, {ScaleMode::scale_up, rank_ids({2, 0})}).layers.size() +
           plan_rebalance(before, after, {ScaleMode::scale_up, rank_ids({0, 1})}).layers.size();
  });
  CHECK(support::contains(text, "old rank 0 has 2 slots and continues as new rank 0 with 1"));
}

TEST_CASE("random groups of unequal ranks scale both ways, as plans and as schedules") {
  for (ScaleMode const mode : {ScaleMode::scale_up, ScaleMode::scale_down}) {
    bool const up = mode == ScaleMode::scale_up;
    CHECK(support::holds(up ? "scale up" : "scale down", 1000, [&] {
      Scaling const scaling = random_scaling(mode);
      int const experts = support::draw(1, 7);
      auto const count = [](Ints const& slots) { return std::accumulate(slots.begin(), slots.end(), 0); };
      Ints const old_ids = support::draw_list(oracle::at(count(scaling.old_slots)), -1, experts);
      Ints new_ids = support::draw_list(oracle::at(count(scaling.new_slots)), -1, experts);
      for (int& id : new_ids) id = std::count(old_ids.begin(), old_ids.end(), id) > 0 ? id : -1;
      auto const before = support::to_placement(experts, scaling.old_slots, {old_ids});
      auto const after = support::to_placement(experts, scaling.new_slots, {new_ids});
      RankMapping const mapping{mode, rank_ids(scaling.new_rank_of)};
      auto const plan = plan_rebalance(before, after, mapping);
      Ints const& group = up ? scaling.new_slots : scaling.old_slots;
      Ints const expected_before = up ? moved_blocks(old_ids, scaling.old_slots, group, scaling.new_rank_of) : old_ids;
      Ints const expected_after =
          up ? new_ids
             : moved_blocks(new_ids, scaling.new_slots, group, inverse(scaling.new_rank_of, scaling.new_slots.size()));
      RC_ASSERT(plan.before == support::to_placement(experts, group, {expected_before}));
      RC_ASSERT(plan.after == support::to_placement(experts, group, {expected_after}));
      RC_ASSERT(start_placement(plan) == before);
      RC_ASSERT(target_placement(plan) == after);
      RC_ASSERT(validate(plan).empty());
      RC_ASSERT(io::rebalance_plan_from_json(io::to_json(plan), "plan") == plan);
      auto const schedule = plan_schedule(before, after, mapping);
      RC_ASSERT(validate(schedule).empty());
      RC_ASSERT(target_placement(schedule) == after);
    }));
  }
}
