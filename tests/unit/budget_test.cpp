// SPDX-License-Identifier: Apache-2.0
// Receive budgets: what is required, what is admitted, and the plans that follow from it.
//
// Worked example: two EP ranks with one slot each; rank 0 has 3 rows for slot 0 and 1 for slot 1, rank 1 has 4 and 0.
// EP rank 0 needs 7 rows. With room for 5, row order keeps 3 of rank 0 and 2 of rank 1; the even rule cuts both blocks
// to 2 and gives the row left over to the first.
#include <doctest/doctest.h>

#include <numeric>
#include <random>

#include "support/error_text.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/receive_budget.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;
using Rows = std::vector<std::int64_t>;

namespace {

SlotLayout two_ranks() {
  return SlotLayout::uniform(2, 1);
}
Rows const kCounts{3, 1, 4, 0};

ReceiveBudget budget(std::int64_t rows, OverflowPolicy policy, OverflowRule rule = OverflowRule::row_order) {
  ReceiveBudget result;
  result.rows = rows;
  result.policy = policy;
  result.rule = rule;
  return result;
}

/// The even rule one row at a time: in every round each block that still wants a row gets one, first blocks first.
Rows deal_rows(Rows const& blocks, std::int64_t room) {
  Rows given(blocks.size(), 0);
  for (bool dealt = true; dealt && room > 0;) {
    dealt = false;
    for (std::size_t i = 0; i < blocks.size() && room > 0; ++i) {
      if (given[i] == blocks[i]) continue;
      ++given[i];
      --room;
      dealt = true;
    }
  }
  return given;
}

}  // namespace

TEST_CASE("the worked example, every policy") {
  CHECK(required_receive_rows(two_ranks(), 2, kCounts) == Rows{7, 1});
  auto const first = admit_rows(budget(5, OverflowPolicy::drop), two_ranks(), 2, kCounts);
  CHECK(first.admitted == Rows{3, 1, 2, 0});
  CHECK(first.dropped_rows == Rows{2, 0});
  CHECK(first.required_rows == Rows{7, 1});
  CHECK(first.required_budget == 7);
  CHECK(first.budget_rows == 5);
  auto const even = admit_rows(budget(5, OverflowPolicy::drop, OverflowRule::even), two_ranks(), 2, kCounts);
  CHECK(even.admitted == Rows{3, 1, 2, 0});
  CHECK(admit_rows(budget(4, OverflowPolicy::drop, OverflowRule::even), two_ranks(), 2, kCounts).admitted ==
        Rows{2, 1, 2, 0});

  auto growing = budget(5, OverflowPolicy::grow);
  growing.multiple = 4;
  auto const grown = admit_rows(growing, two_ranks(), 2, kCounts);
  CHECK(grown.budget_rows == 8);
  CHECK(grown.admitted == kCounts);
  CHECK(grown.dropped_rows == Rows{0, 0});

  CHECK(admit_rows(budget(7, OverflowPolicy::error), two_ranks(), 2, kCounts).admitted == kCounts);
  auto const text = error_text(ErrorCode::shape_mismatch,
                               [] { return admit_rows(budget(6, OverflowPolicy::error), two_ranks(), 2, kCounts); });
  CHECK(contains(text, "EP rank 0 would receive 7 rows but has room for 6"));
  CHECK(contains(text, "allow 7 rows"));
}

TEST_CASE("nothing to receive, no room, and bad numbers") {
  CHECK(admit_rows(budget(0, OverflowPolicy::error), two_ranks(), 2, Rows{0, 0, 0, 0}).required_budget == 0);
  CHECK(admit_rows(budget(0, OverflowPolicy::drop), two_ranks(), 2, kCounts).admitted == Rows{0, 0, 0, 0});
  CHECK(admit_rows(budget(0, OverflowPolicy::drop, OverflowRule::even), two_ranks(), 2, kCounts).admitted ==
        Rows{0, 0, 0, 0});
  SlotLayout const uneven(std::vector<std::int32_t>{0, 2});
  CHECK(required_receive_rows(uneven, 1, Rows{3, 4}) == Rows{0, 7});
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [] { return required_receive_rows(two_ranks(), 2, Rows{1}); }),
                 "2 ranks x 2 slots need 4"));
  auto const refused = [](auto const& call) { return error_text(ErrorCode::invalid_argument, call); };
  CHECK(contains(refused([] { return required_receive_rows(two_ranks(), 2, Rows{0, 0, -1, 0}); }), "rank 1 announces"));
  CHECK(contains(refused([] {
                   return required_receive_rows(two_ranks(), 2, Rows{INT64_MAX, 0, 1, 0});
                 }),
                 "does not fit 63 bits"));
  CHECK(contains(refused([] { return admit_rows(budget(-1, OverflowPolicy::drop), two_ranks(), 2, kCounts); }),
                 "budget of -1"));
  CHECK(receive_budget_rows(100, 8, {5, 4}, 128) == 1024);
  CHECK(receive_budget_rows(3, 1, {3, 2}, 1) == 4);
  CHECK(receive_budget_rows(0, 8, {1, 1}, 64) == 0);
  CHECK(contains(refused([] { return receive_budget_rows(1, 1, {1, 1}, 0); }), "multiple of 0"));
}

TEST_CASE("random counts: the budget is full exactly when rows are dropped, and the rules keep what they say") {
  std::mt19937_64 random(5);
  for (int round = 0; round < 400; ++round) {
    int const world = 1 + static_cast<int>(random() % 4);
    std::vector<std::int32_t> slots(static_cast<std::size_t>(1 + random() % static_cast<std::uint64_t>(world)));
    for (auto& count : slots) count = static_cast<std::int32_t>(random() % 4);
    SlotLayout const layout(slots);
    Rows counts(static_cast<std::size_t>(world * layout.num_slots()));
    for (auto& count : counts) count = static_cast<std::int64_t>(random() % 6);
    auto const room = static_cast<std::int64_t>(random() % 20);
    CAPTURE(round);
    for (auto const rule : {OverflowRule::row_order, OverflowRule::even}) {
      auto const result = admit_rows(budget(room, OverflowPolicy::drop, rule), layout, world, counts);
      for (int rank = 0; rank < layout.num_ranks(); ++rank) {
        Rows blocks;
        Rows admitted;
        int const begin = layout.first_slot(RankId{rank}).value();
        for (int slot = begin; slot < begin + layout.slots_of(RankId{rank}); ++slot) {
          for (int source = 0; source < world; ++source) {
            auto const at = static_cast<std::size_t>(source * layout.num_slots() + slot);
            blocks.push_back(counts[at]);
            admitted.push_back(result.admitted[at]);
          }
        }
        auto const wanted = std::accumulate(blocks.begin(), blocks.end(), std::int64_t{0});
        auto const index = static_cast<std::size_t>(rank);
        CHECK(result.required_rows[index] == wanted);
        CHECK(result.dropped_rows[index] == std::max<std::int64_t>(wanted - room, 0));
        Rows expected = blocks;
        if (wanted > room && rule == OverflowRule::even) expected = deal_rows(blocks, room);
        std::int64_t left = room;
        if (rule == OverflowRule::row_order)
          for (auto& rows : expected) left -= rows = std::min(rows, left);
        CHECK(admitted == expected);
      }
    }
  }
}

TEST_CASE("plans after a drop fit together, and every refused choice is named") {
  // Four tokens per rank, all to expert 0 of 2, top-1; EP rank 0 has room for 5 of 8 rows.
  AllToAllConfig config;
  config.grid = {1, 2};
  auto const placement = ExpertPlacement::contiguous(1, 2, 2);
  auto const routing = RoutingMap::from_topk(4, 2, 1, {0, 0, 0, 0}, {1, 1, 1, 1});
  std::vector<RowAssignment> assignments;
  Rows counts;
  for (int rank = 0; rank < 2; ++rank) {
    assignments.push_back(assign_rows(config, RankId{rank}, routing, placement, 0));
    counts.insert(counts.end(), assignments.back().rows_per_slot.begin(), assignments.back().rows_per_slot.end());
  }
  auto const admission = admit_rows(budget(5, OverflowPolicy::drop), placement.layout(), 2, counts);
  CHECK(admission.admitted == Rows{4, 0, 1, 0});
  std::vector<DispatchPlan> plans;
  std::vector<RefusedRow> refused;
  for (auto& assignment : assignments) {
    auto const first = assignment.rank.index() * 2;
    auto kept =
        keep_admitted(assignment.gather, assignment.rows_per_slot, std::span(admission.admitted).subspan(first, 2));
    assignment.gather = kept.gather;
    assignment.rows_per_slot = kept.rows_per_slot;
    refused.insert(refused.end(), kept.refused.begin(), kept.refused.end());
    plans.push_back(plan_alltoall(config, assignment, placement, 0, admission.admitted));
  }
  CHECK(validate_group(plans).empty());
  CHECK(plans[0].num_expert_rows() == 5);
  CHECK(plans[1].num_expert_rows() == 0);
  CHECK(plans[1].num_tokens == 4);
  CHECK(refused == std::vector<RefusedRow>{{1, 0}, {2, 0}, {3, 0}});
}

TEST_CASE("an admission that does not belong to the rows is refused") {
  RowGather const gather{{0, 1}, {0, 0}, {0, 1, 2}, {0, 1}};
  CHECK(keep_admitted(gather, Rows{2}, Rows{1}).refused == std::vector<RefusedRow>{{1, 0}});
  CHECK(keep_admitted(gather, Rows{2}, Rows{1}).gather == RowGather{{0}, {0}, {0, 1, 1}, {0}});
  CHECK(keep_admitted({{}, {}, {0}, {}}, Rows{}, Rows{}).gather == RowGather{{}, {}, {0}, {}});
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return keep_admitted(gather, Rows{2}, Rows{3}); }),
                 "but the rank has 2"));
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return keep_admitted(gather, Rows{3}, Rows{3}); }),
                 "3 rows in 1 slots"));
  RowGather broken = gather;
  broken.rows_of_token[1] = 9;
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return keep_admitted(broken, Rows{2}, Rows{2}); }),
                 "token 1 of the gather"));
}
