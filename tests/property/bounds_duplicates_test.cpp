// SPDX-License-Identifier: Apache-2.0
// What the policy "incremental" does with slots that repeat an expert on their rank.
//
// Worked example: ranks 0 and 1 hold 0 0 | 1 2, loads 4 2 1 (a rank with both slots of expert 0 carries 4, the other
// 3). One of rank 0's slots serves nobody. Giving it to expert 1 (one fetch) makes 5 | 2, to expert 2 4.5 | 2.5;
// exchanging it with expert 2's slot (two fetches) makes 3 | 4, with expert 1's 4 | 3: no exchange raises the maximum,
// both gifts do. With one move at most, expert 2 gets the slot.
#include <doctest/doctest.h>

#include <memory>

#include "support/error_text.hpp"
#include "support/placement_requests.hpp"
#include "support/property.hpp"
#include "switchyard/placement/incremental.hpp"
#include "switchyard/placement/objective.hpp"
#include "switchyard/placement/policy.hpp"

using namespace switchyard;

namespace {

std::shared_ptr<ExpertPlacement const> in_use(int layers, int experts, SlotLayout const& layout,
                                              std::vector<int> const& ids) {
  std::vector<ExpertId> slots;
  for (int id : ids) slots.emplace_back(id);
  return std::make_shared<ExpertPlacement const>(layers, experts, layout, std::move(slots));
}

PolicyRequest worked_request(std::vector<int> const& ids = {0, 0, 1, 2}) {
  PolicyRequest request{2, 4, 1, 1};
  request.current = in_use(1, 3, SlotLayout::uniform(2, 2), ids);
  return request;
}

ExpertLoad const kWorkedLoad = support::one_layer({4, 2, 1});

/// Slots that repeat an expert on their rank, counted plainly.
int repeats(ExpertPlacement const& placement, int layer) {
  int count = 0;
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    auto const slots = placement.rank_slots(layer, rank);
    for (std::size_t i = 0; i < slots.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (slots[i].valid() && slots[i] == slots[j]) {
          ++count;
          break;
        }
  }
  return count;
}

}  // namespace

TEST_CASE("the worked duplicate goes, and a limit of one move keeps it with the reason") {
  auto const freed = improve_placement(kWorkedLoad, worked_request());
  CHECK(repeats(freed.placement, 0) == 0);
  CHECK(freed.layers[0].duplicates_before == 1);
  CHECK(freed.layers[0].duplicates_left == 0);
  CHECK(freed.layers[0].duplicates_kept == DuplicatesKept::none);
  CHECK(freed.layers[0].curve.back().max_figure == 4);
  CHECK(freed.layers[0].curve.back().moves == 2);
  IncrementalOptions nothing;
  nothing.limits.max_moves = 0;
  auto const kept = improve_placement(kWorkedLoad, worked_request(), nothing);
  CHECK(kept.placement == *worked_request().current);
  CHECK(kept.layers[0].duplicates_left == 1);
  CHECK(kept.layers[0].duplicates_kept == DuplicatesKept::move_limits);
  // One fetch is enough for a gift: expert 2 raises the maximum least.
  IncrementalOptions one;
  one.limits.max_moves_per_layer = 1;
  auto const given = improve_placement(kWorkedLoad, worked_request(), one);
  CHECK(support::layer_of(given.placement, 0) == std::vector<int>{0, 2, 1, 2});
  CHECK(given.layers[0].curve.front().max_figure == 4.5);
  IncrementalOptions caps;
  caps.limits.max_moves_per_link = 0;
  CHECK(improve_placement(kWorkedLoad, worked_request(), caps).layers[0].duplicates_kept ==
        DuplicatesKept::move_limits);
}

TEST_CASE("duplicates stay when asked, when a horizon does not pay for them, and where nothing else may stand") {
  IncrementalOptions asked;
  asked.keep_duplicates = true;
  asked.limits.max_moves = 0;
  CHECK(improve_placement(kWorkedLoad, worked_request(), asked).layers[0].duplicates_kept == DuplicatesKept::asked);
  IncrementalOptions dear;
  dear.costs = {1000, 1, 1, 1, 1e-9};
  CHECK(improve_placement(kWorkedLoad, worked_request(), dear).layers[0].duplicates_kept == DuplicatesKept::horizon);
  // Two slots for one expert on the only rank.
  PolicyRequest single{1, 2, 1, 1};
  single.current = in_use(1, 1, SlotLayout::uniform(1, 2), {0, 0});
  auto const stuck = improve_placement(support::one_layer({5}), single);
  CHECK(stuck.layers[0].duplicates_left == 1);
  CHECK(stuck.layers[0].duplicates_kept == DuplicatesKept::no_legal_change);
  CHECK(to_string(stuck.layers[0].duplicates_kept) == "no_legal_change");
}

TEST_CASE("a limit over all layers is spent on the first layers' duplicates and never exceeded") {
  PolicyRequest request{2, 4, 1, 1};
  request.current = in_use(3, 3, SlotLayout::uniform(2, 2), {0, 0, 1, 2, 0, 0, 1, 2, 0, 0, 1, 2});
  ExpertLoad const load(1, 3, 3, {4, 2, 1, 4, 2, 1, 4, 2, 1});
  for (int moves = 0; moves <= 7; ++moves) {
    INFO("at most ", moves, " moves");
    IncrementalOptions options;
    options.limits.max_moves = moves;
    auto const result = improve_placement(load, request, options);
    CHECK(std::ssize(result.fetches) <= moves);
    int left = 0;
    for (auto const& layer : result.layers) left += layer.duplicates_left;
    CHECK(left == std::max(0, 3 - moves));
    for (int layer = 0; layer < 3; ++layer)
      CHECK(repeats(result.placement, layer) == result.layers[static_cast<std::size_t>(layer)].duplicates_left);
  }
}

TEST_CASE("without limits no duplicate is left that could go, and what is reported is what is there") {
  int seen = 0;
  CHECK(support::holds("duplicates", support::cases(200), [&] {
    int const ranks = support::draw(1, 6);
    int const per_rank = support::draw(1, 5);
    int const experts = support::draw(1, ranks * per_rank + 1);
    std::vector<int> ids;
    for (int slot = 0; slot < ranks * per_rank; ++slot)
      ids.push_back(slot < experts ? slot : support::draw(0, experts));
    for (int swap = 0; swap < 5; ++swap)
      std::swap(ids[static_cast<std::size_t>(support::draw(0, ranks * per_rank))],
                ids[static_cast<std::size_t>(support::draw(0, ranks * per_rank))]);
    PolicyRequest request{ranks, ranks * per_rank, 1, 1};
    request.current = in_use(1, experts, SlotLayout::uniform(ranks, per_rank), ids);
    auto const load = support::random_load(1, 1, experts);
    int const before = repeats(*request.current, 0);
    seen += before;
    auto const free = improve_placement(load, request);
    RC_ASSERT(free.layers[0].duplicates_before == before);
    RC_ASSERT(free.layers[0].duplicates_left == repeats(free.placement, 0));
    // With at least as many experts as a rank has slots some expert is always absent from a rank that repeats one.
    bool const fits = experts >= per_rank;
    if (fits) RC_ASSERT(free.layers[0].duplicates_left == 0);
    for (auto const& point : pareto_points(free)) {
      auto const placement = placement_at(free, point);
      RC_ASSERT(validate(placement).empty());
      RC_ASSERT(repeats(placement, 0) <= before);
    }
    IncrementalOptions limited;
    limited.limits.max_moves_per_layer = support::draw(0, 4);
    auto const some = improve_placement(load, request, limited);
    RC_ASSERT(std::ssize(some.fetches) <= *limited.limits.max_moves_per_layer);
    RC_ASSERT(some.layers[0].duplicates_left == repeats(some.placement, 0));
    RC_ASSERT((some.layers[0].duplicates_left > 0) == (some.layers[0].duplicates_kept != DuplicatesKept::none));
  }));
  MESSAGE(seen, " duplicates in use");
  CHECK(seen > 100);
}
