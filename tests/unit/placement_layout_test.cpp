// SPDX-License-Identifier: Apache-2.0
// Slot layouts, placements and loads.
//
// Worked example: ranks with 2, 0 and 3 slots number them 0 1 | | 2 3 4. Slot 2 is the first of rank 2. A round-robin
// of three experts puts 0 on rank 0; rank 1 is full from the start, so expert 1 goes on to rank 2, like expert 2; the
// second pass starts one rank later.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "support/error_text.hpp"
#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"

using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::kNoExpert;
using switchyard::PlacementRule;
using switchyard::RankId;
using switchyard::ReplicaTable;
using switchyard::SlotId;
using switchyard::SlotLayout;

namespace {

std::vector<int> ids(std::span<ExpertId const> experts) {
  std::vector<int> out;
  for (ExpertId const expert : experts) out.push_back(expert.value());
  return out;
}

ExpertPlacement one_layer(int num_experts, SlotLayout const& layout, std::vector<int> const& slots) {
  std::vector<ExpertId> experts;
  for (int const id : slots) experts.emplace_back(id);
  return ExpertPlacement(1, num_experts, layout, std::move(experts));
}

std::vector<int> slots_of(SlotLayout const& layout) {
  std::vector<int> out;
  for (int rank = 0; rank < layout.num_ranks(); ++rank) out.push_back(layout.slots_of(RankId(rank)));
  return out;
}

template <typename Call>
void check_refused(ErrorCode code, std::string_view part, Call const& call) {
  auto const text = support::error_text(code, call);
  CAPTURE(text);
  CHECK(support::contains(text, part));
}

}  // namespace

TEST_CASE("a layout numbers slots rank by rank, empty ranks included") {
  SlotLayout const layout({2, 0, 3});
  CHECK(layout.num_ranks() == 3);
  CHECK(layout.num_slots() == 5);
  CHECK(layout.uniform_slots() == -1);
  std::vector<int> const ranks = {0, 0, 2, 2, 2};
  std::vector<int> const rows = {0, 1, 0, 1, 2};
  for (int slot = 0; slot < 5; ++slot) {
    CHECK(layout.rank_of(SlotId(slot)).value() == ranks.at(static_cast<std::size_t>(slot)));
    CHECK(layout.local_of(SlotId(slot)).value() == rows.at(static_cast<std::size_t>(slot)));
  }
  CHECK(layout.first_slot(RankId(1)) == SlotId(2));
}

TEST_CASE("uniform and balanced layouts") {
  CHECK(slots_of(SlotLayout::uniform(3, 2)) == std::vector<int>{2, 2, 2});
  CHECK(SlotLayout::uniform(3, 2).uniform_slots() == 2);
  CHECK(SlotLayout::uniform(4, 0).num_slots() == 0);
  CHECK(slots_of(SlotLayout::balanced(4, 6)) == std::vector<int>{2, 2, 1, 1});
  CHECK(slots_of(SlotLayout::balanced(3, 2)) == std::vector<int>{1, 1, 0});
  CHECK(SlotLayout().num_ranks() == 0);
  CHECK(SlotLayout().uniform_slots() == -1);
}

TEST_CASE("impossible layouts are refused with the rank at fault") {
  check_refused(ErrorCode::invalid_argument, "at least one rank", [] { return SlotLayout(std::vector<int>{}); });
  check_refused(ErrorCode::invalid_argument, "rank 1 has -1 slots", [] { return SlotLayout({2, -1}); });
  check_refused(ErrorCode::invalid_argument, "ranks 0 to 1", [] { return SlotLayout({2147483647, 1}); });
  check_refused(ErrorCode::invalid_argument, "at least one rank", [] { return SlotLayout::uniform(0, 2); });
  check_refused(ErrorCode::invalid_argument, "must not be negative", [] { return SlotLayout::balanced(2, -1); });
  check_refused(ErrorCode::invalid_argument, "rank 2 is outside [0, 2)", [] {
    return SlotLayout({1, 1}).slots_of(RankId(2));
  });
  check_refused(ErrorCode::invalid_argument, "slot -1 is outside", [] { return SlotLayout({1}).rank_of(SlotId(-1)); });
  check_refused(ErrorCode::invalid_argument, "slot 0 is outside", [] { return SlotLayout({0}).rank_of(SlotId(0)); });
}

TEST_CASE("contiguous placements give the first ranks the remainder") {
  auto const placement = ExpertPlacement::contiguous(2, 5, 3);
  CHECK(slots_of(placement.layout()) == std::vector<int>{2, 2, 1});
  CHECK(ids(placement.layer(1)) == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(ids(placement.rank_slots(1, RankId(1))) == std::vector<int>{2, 3});
  CHECK(placement.expert_at(0, SlotId(4)) == ExpertId(4));
}

TEST_CASE("the trivial placement wraps round, round-robin starts each pass one rank later") {
  CHECK(ids(ExpertPlacement::trivial(1, 3, SlotLayout::uniform(2, 4)).layer(0)) ==
        std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1});
  CHECK(ids(ExpertPlacement::round_robin(1, 4, SlotLayout::uniform(2, 3)).layer(0)) ==
        std::vector<int>{0, 2, 1, 1, 3, 0});
  CHECK(ids(ExpertPlacement::round_robin(1, 3, SlotLayout({2, 0, 3})).layer(0)) == std::vector<int>{0, 1, 1, 2, 0});
  CHECK(ids(ExpertPlacement::round_robin(1, 0, SlotLayout::uniform(2, 1)).layer(0)) == std::vector<int>{-1, -1});
}

TEST_CASE("a round-robin with spare slots has no two copies of an expert on a rank") {
  auto const placement = ExpertPlacement::round_robin(1, 64, SlotLayout::uniform(8, 9));
  CHECK(validate(placement, true).empty());
}

TEST_CASE("a placement of the wrong length or sizes is refused") {
  SlotLayout const layout = SlotLayout::uniform(2, 2);
  check_refused(ErrorCode::shape_mismatch, "needs 8 entries, got 3",
                [&] { return ExpertPlacement(2, 4, layout, std::vector<ExpertId>(3)); });
  check_refused(ErrorCode::invalid_argument, "must not be negative",
                [&] { return ExpertPlacement(-1, 4, layout, {}); });
  check_refused(ErrorCode::invalid_argument, "layer 1 is outside [0, 1)", [&] {
    return one_layer(4, layout, {0, 1, 2, 3}).layer(1).size();
  });
  check_refused(ErrorCode::invalid_argument, "slot 4 is outside", [&] {
    return one_layer(4, layout, {0, 1, 2, 3}).expert_at(0, SlotId(4));
  });
}

TEST_CASE("the replica table inverts a placement row") {
  auto const placement = one_layer(4, SlotLayout::uniform(3, 2), {2, 0, -1, 2, 3, 2});
  ReplicaTable const table(placement, 0);
  CHECK(table.num_experts() == 4);
  CHECK(table.replicas(ExpertId(0)).size() == 1);
  CHECK(table.replicas(ExpertId(1)).empty());
  auto const twos = table.replicas(ExpertId(2));
  CHECK(std::vector<SlotId>(twos.begin(), twos.end()) == std::vector<SlotId>{SlotId(0), SlotId(3), SlotId(5)});
  check_refused(ErrorCode::invalid_argument, "expert 4 is outside", [&] { return table.replicas(ExpertId(4)).size(); });
  auto const bad = one_layer(4, SlotLayout::uniform(1, 1), {7});
  check_refused(ErrorCode::invalid_placement, "slot 0 of layer 0 holds expert 7", [&] { return ReplicaTable(bad, 0); });
}

TEST_CASE("validate names every broken rule of a placement") {
  auto const placement = one_layer(4, SlotLayout::uniform(2, 3), {0, 0, 9, -2, 2, -1});
  auto const found = validate(placement, true);
  REQUIRE(found.size() == 5);
  CHECK(found[0].rule == PlacementRule::id_out_of_range);
  CHECK(found[0].slot == SlotId(2));
  CHECK(found[1].slot == SlotId(3));
  CHECK(found[2].rule == PlacementRule::expert_without_slot);
  CHECK(found[2].expert == ExpertId(1));
  CHECK(found[3].expert == ExpertId(3));
  CHECK(found[4].rule == PlacementRule::duplicate_on_rank);
  CHECK(found[4].slot == SlotId(1));
  CHECK(support::contains(found[0].text, "slot 2 (rank 0) of layer 0 holds expert 9, outside [-1, 4)"));
  CHECK(validate(placement).size() == 4);
  CHECK(to_string(found[2].rule) == "expert_without_slot");
}

TEST_CASE("the fingerprint tells placements apart by every field") {
  auto const base = one_layer(4, SlotLayout::uniform(2, 2), {0, 1, 2, 3}).fingerprint();
  CHECK(base == one_layer(4, SlotLayout({2, 2}), {0, 1, 2, 3}).fingerprint());
  CHECK(base != one_layer(5, SlotLayout({2, 2}), {0, 1, 2, 3}).fingerprint());
  CHECK(base != one_layer(4, SlotLayout({1, 3}), {0, 1, 2, 3}).fingerprint());
  CHECK(base != one_layer(4, SlotLayout({2, 2}), {1, 0, 2, 3}).fingerprint());
  CHECK(base !=
        ExpertPlacement(2, 4, SlotLayout({1, 1}), {ExpertId(0), ExpertId(1), ExpertId(2), ExpertId(3)}).fingerprint());
}

TEST_CASE("loads are summed over steps, steps ascending") {
  ExpertLoad const load(2, 2, 3, {1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60});
  CHECK(load.at(1, 0)[2] == 30);
  auto const sum = load.summed();
  CHECK(sum.num_steps() == 1);
  CHECK(sum == ExpertLoad(1, 2, 3, {11, 22, 33, 44, 55, 66}));
  CHECK(sum.summed() == sum);
}

TEST_CASE("a bad load is refused with its place and value") {
  double const nan = std::numeric_limits<double>::quiet_NaN();
  double const inf = std::numeric_limits<double>::infinity();
  check_refused(ErrorCode::invalid_argument, "load -1 of expert 1 in layer 1, step 1", [] {
    return ExpertLoad(2, 2, 2, {0, 0, 0, 0, 0, 0, 0, -1});
  });
  check_refused(ErrorCode::invalid_argument, "load nan of expert 0", [&] { return ExpertLoad(1, 1, 1, {nan}); });
  check_refused(ErrorCode::invalid_argument, "load inf of expert 0", [&] { return ExpertLoad(1, 1, 1, {inf}); });
  check_refused(ErrorCode::invalid_argument, "at least 1", [] { return ExpertLoad(1, 0, 1, {}); });
  check_refused(ErrorCode::shape_mismatch, "needs 6 values, got 1", [] { return ExpertLoad(1, 2, 3, {1}); });
  check_refused(ErrorCode::invalid_argument, "step 1, layer 0",
                [] { return ExpertLoad(1, 1, 1, {1}).at(1, 0).size(); });
}
