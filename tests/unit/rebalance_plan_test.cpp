// SPDX-License-Identifier: Apache-2.0
// Rebalance plans: worked moves, rank mappings, refusals and the name of every broken rule.
//
// Worked example, four ranks with three slots: before 0 1 2 | 0 3 3 | 1 - 4 | 4 2 0, after 3 1 0 | 0 2 4 | 3 3 1 | -
// 4 2. Over the network go 3 from rank 1 to ranks 0 and 2, 2 from rank 0 to rank 1 and 4 from rank 2 to rank 1. Rank 2
// needs 3 twice: row 0 receives it, row 1 is duplicated from row 0. Rank 3's first row becomes empty and is not
// touched.
#include "switchyard/rebalance/rebalance_plan.hpp"

#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "support/rebalance_cases.hpp"

using oracle::Ints;
using oracle::Triple;
using switchyard::check_request;
using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertPlacement;
using switchyard::LocalExpertId;
using switchyard::plan_rebalance;
using switchyard::PlanRule;
using switchyard::RankId;
using switchyard::RankMapping;
using switchyard::RebalancePlan;
using switchyard::ScaleMode;

namespace {

using Triples = std::vector<Triple>;

ExpertPlacement placement(int num_experts, Ints const& slots_per_rank, std::vector<Ints> const& layers) {
  return support::to_placement(num_experts, slots_per_rank, layers);
}

RebalancePlan worked_plan() {
  Ints const slots = {3, 3, 3, 3};
  return plan_rebalance(placement(5, slots, {{0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0}}),
                        placement(5, slots, {{3, 1, 0, 0, 2, 4, 3, 3, 1, -1, 4, 2}}));
}

/// One slot per rank, expert 0 spreads from `before` to everybody: [sender, receiver].
std::vector<std::pair<int, int>> spread(Ints const& before) {
  Ints const slots(before.size(), 1);
  auto const plan = plan_rebalance(placement(7, slots, {before}), placement(7, slots, {Ints(before.size(), 0)}));
  std::vector<std::pair<int, int>> copies;
  for (std::size_t rank = 0; rank < before.size(); ++rank)
    for (auto const& send : plan.layers[0].ranks[rank].sends)
      copies.emplace_back(static_cast<int>(rank), send.to.value());
  return copies;
}

std::vector<RankId> ranks(Ints const& values) {
  std::vector<RankId> out;
  for (int const value : values) out.emplace_back(value);
  return out;
}

std::string refusal(ErrorCode code, ExpertPlacement const& before, ExpertPlacement const& after,
                    RankMapping const& mapping = {}) {
  return support::error_text(code, [&] { return plan_rebalance(before, after, mapping).layers.size(); });
}

/// The rules that `damage` breaks in the worked plan.
template <typename Change>
std::vector<PlanRule> broken_by(Change const& damage) {
  auto plan = worked_plan();
  damage(plan);
  std::vector<PlanRule> rules;
  for (auto const& violation : validate(plan)) rules.push_back(violation.rule);
  return rules;
}

bool has(std::vector<PlanRule> const& rules, PlanRule rule) {
  return std::find(rules.begin(), rules.end(), rule) != rules.end();
}

template <typename Call>
void check_text(std::string const& text, Call const& parts) {
  CAPTURE(text);
  for (std::string_view const part : parts) CHECK(support::contains(text, part));
}

}  // namespace

TEST_CASE("the worked example") {
  auto const plan = worked_plan();
  CHECK(validate(plan).empty());
  auto const lists = support::plain(plan.layers.at(0));
  CHECK(lists[0] == oracle::RankTransfers{Triples{{2, 2, 1}}, Triples{{3, 0, 1}}, Triples{{0, 0, 2}}, {}});
  CHECK(lists[1] == oracle::RankTransfers{Triples{{3, 1, 0}, {3, 1, 2}}, Triples{{2, 1, 0}, {4, 2, 2}}, {}, {}});
  CHECK(lists[2] ==
        oracle::RankTransfers{Triples{{4, 2, 1}}, Triples{{3, 0, 1}}, Triples{{1, 0, 2}}, Triples{{3, 0, 1}}});
  CHECK(lists[3] == oracle::RankTransfers{{}, {}, Triples{{4, 0, 1}, {2, 1, 2}}, {}});
  CHECK(support::plain(provenance(plan, 0)) == Ints{4, 1, 0, 3, 2, 8, 4, 4, 6, 9, 9, 10});
}

TEST_CASE("totals of the worked example") {
  auto const sums = totals(worked_plan());
  CHECK(sums.network_copies == 4);
  CHECK(sums.local_copies == 4);
  CHECK(sums.duplicates == 1);
  CHECK(sums.unchanged == 2);
  CHECK(sums.max_sends_of_rank == 2);
  CHECK(sums.max_receives_of_rank == 2);
}

TEST_CASE("receivers split evenly, the last ones are leftovers for the first senders") {
  using Copies = std::vector<std::pair<int, int>>;
  CHECK(spread({0, 0, 0, 1, 2, 3, 4, 5}) == Copies{{0, 3}, {0, 6}, {1, 4}, {1, 7}, {2, 5}});
  CHECK(spread({0, 0, 1, 2, 3, 4, 5, 6}) == Copies{{0, 2}, {0, 3}, {0, 4}, {1, 5}, {1, 6}, {1, 7}});
  CHECK(spread({0, 0, 0, 1}) == Copies{{0, 3}});
}

TEST_CASE("an unchanged placement moves nothing, empty plans are valid") {
  auto const same = placement(3, {2, 0, 1}, {{0, 1, 2}, {2, -1, 0}});
  auto const plan = plan_rebalance(same, same);
  CHECK(validate(plan).empty());
  CHECK(totals(plan).network_copies == 0);
  CHECK(totals(plan).unchanged == 5);
  auto const nothing = plan_rebalance(placement(3, {1}, {}), placement(3, {1}, {}));
  CHECK(validate(nothing).empty());
  CHECK(validate(RebalancePlan{}).empty());
}

TEST_CASE("an expert that nobody holds is refused, every one is named") {
  auto const before = placement(5, {2, 2}, {{0, 1, 1, 0}, {0, 1, 2, -1}});
  auto const after = placement(5, {2, 2}, {{0, 1, 2, 4}, {0, 1, 2, 3}});
  check_text(refusal(ErrorCode::missing_source, before, after),
             std::array{"expert 2 of layer 0", "expert 4 of layer 0", "expert 3 of layer 1"});
  auto const problems = check_request(before, after);
  REQUIRE(problems.size() == 3);
  CHECK(problems[0].rule == PlanRule::missing_source);
  CHECK(problems[2].layer == 1);
}

TEST_CASE("ids outside the experts are refused with their slot, also when both sides agree on them") {
  auto const before = placement(3, {2, 2}, {{0, 1, 2, 7}});
  auto const after = placement(3, {2, 2}, {{7, 1, 2, -2}});
  check_text(
      refusal(ErrorCode::invalid_placement, before, after),
      std::array{"slot 3 (rank 1) of layer 0 holds expert 7 in before, outside [-1, 3)",
                 "slot 0 (rank 0) of layer 0 holds expert 7 in after", "slot 3 (rank 1) of layer 0 holds expert -2"});
  CHECK(check_request(before, before).size() == 2);
}

TEST_CASE("placements of other sizes are refused") {
  auto const base = placement(3, {2, 2}, {{0, 1, 2, 0}});
  check_text(refusal(ErrorCode::shape_mismatch, base, placement(3, {2, 2, 1}, {{0, 1, 2, 0, 1}})),
             std::array{"before has 2 ranks and after 3", "scale_up or scale_down"});
  check_text(refusal(ErrorCode::shape_mismatch, base, placement(3, {1, 3}, {{0, 1, 2, 0}})),
             std::array{"rank 0 has 2 slots before and 1 after"});
  check_text(refusal(ErrorCode::shape_mismatch, base, placement(4, {2, 2}, {{0, 1, 2, 0}})),
             std::array{"before has 3 experts and after 4"});
  check_text(refusal(ErrorCode::shape_mismatch, base, placement(3, {2, 2}, {{0, 1, 2, 0}, {0, 1, 2, 0}})),
             std::array{"before has 1 layers and after 2"});
}

TEST_CASE("a permutation of all ranks means what the mode says") {
  // Old ranks 0 1 2 hold 0 1 2; they become the new ranks 1 2 0, which shall hold 0 1 2 again.
  auto const old_map = placement(3, {1, 1, 1}, {{0, 1, 2}});
  auto const up = plan_rebalance(old_map, old_map, {ScaleMode::scale_up, ranks({1, 2, 0})});
  CHECK(up.before == placement(3, {1, 1, 1}, {{2, 0, 1}}));
  CHECK(up.after == old_map);
  auto const down = plan_rebalance(old_map, old_map, {ScaleMode::scale_down, ranks({1, 2, 0})});
  CHECK(down.before == old_map);
  CHECK(down.after == placement(3, {1, 1, 1}, {{1, 2, 0}}));
  CHECK(target_placement(down) == old_map);
  CHECK(validate(up).empty());
  CHECK(validate(down).empty());
}

TEST_CASE("leaving ranks only send, joining ranks only receive") {
  auto const four = placement(4, {1, 1, 1, 1}, {{0, 1, 2, 3}});
  auto const two = placement(4, {1, 1}, {{3, 2}});
  auto const down = plan_rebalance(four, two, {ScaleMode::scale_down, ranks({-1, 1, 0, -1})});
  CHECK(down.after == placement(4, {1, 1, 1, 1}, {{-1, 2, 3, -1}}));
  CHECK(down.layers[0].ranks[3].sends.size() == 1);
  CHECK(target_placement(down) == two);
  auto const up = plan_rebalance(two, placement(4, {1, 1, 1}, {{2, 3, 3}}), {ScaleMode::scale_up, ranks({2, 0})});
  CHECK(up.before == placement(4, {1, 1, 1}, {{2, -1, 3}}));
  CHECK(support::plain(up.layers[0].ranks[1]).receives == Triples{{3, 0, 2}});
}

TEST_CASE("bad rank mappings are refused and named") {
  auto const four = placement(4, {1, 1, 1, 1}, {{0, 1, 2, 3}});
  auto const two = placement(4, {1, 1}, {{0, 1}});
  auto const down = [&](Ints const& map) { return RankMapping{ScaleMode::scale_down, ranks(map)}; };
  auto const invalid = ErrorCode::invalid_argument;
  check_text(refusal(invalid, four, two, down({0, 0, 1, -1})), std::array{"old ranks 0 and 1 both map to new rank 0"});
  check_text(refusal(invalid, four, two, down({0, 2, 1, -1})), std::array{"old rank 1 maps to 2, outside [-1, 2)"});
  check_text(refusal(invalid, four, two, down({0, -2, 1, -1})), std::array{"old rank 1 maps to -2"});
  check_text(refusal(invalid, four, two, down({-1, 1, -1, -1})), std::array{"no old rank maps to new rank 0"});
  check_text(refusal(ErrorCode::shape_mismatch, four, two, down({0, 1})),
             std::array{"2 entries but before has 4 ranks"});
  check_text(refusal(invalid, four, four, {ScaleMode::none, ranks({0, 1, 2, 3})}), std::array{"without a direction"});
  auto const wide = placement(4, {2, 2}, {{0, 1, 2, 3}});
  check_text(refusal(ErrorCode::shape_mismatch, four, wide, down({0, 1, -1, -1})),
             std::array{"old rank 0 has 1 slots and continues as new rank 0 with 2"});
  CHECK(check_request(four, two, down({0, 0, 1, -1})).front().rule == PlanRule::invalid_mapping);
}

TEST_CASE("a lost expert is legal and reported on demand") {
  auto const plan = plan_rebalance(placement(2, {1, 1}, {{0, 1}}), placement(2, {1, 1}, {{0, 0}}));
  CHECK(validate(plan).empty());
  auto const strict = validate(plan, true);
  REQUIRE(strict.size() == 1);
  CHECK(strict[0].rule == PlanRule::lost_expert);
  check_text(strict[0].text, std::array{"expert 1 of layer 0"});
}

TEST_CASE("damage to messages is named") {
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].sends.clear(); }), PlanRule::unmatched_receive));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].receives.clear(); }), PlanRule::unmatched_send));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].receives.clear(); }), PlanRule::unwritten_row));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].sends[0].source_row = LocalExpertId(1); }),
            PlanRule::wrong_source));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].sends[0].source_row = LocalExpertId(3); }),
            PlanRule::id_out_of_range));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].sends[0].to = RankId(4); }), PlanRule::id_out_of_range));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].sends[0].to = RankId(0); }), PlanRule::self_transfer));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[1].receives[0].target_row = LocalExpertId(2); }),
            PlanRule::wrong_target));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[1].receives[0].target_row = LocalExpertId(2); }),
            PlanRule::written_twice));
}

TEST_CASE("messages of a pair in another order are named") {
  auto plan = plan_rebalance(placement(4, {2, 2}, {{0, 1, 2, 3}}), placement(4, {2, 2}, {{2, 3, 0, 1}}));
  CHECK(validate(plan).empty());
  std::swap(plan.layers[0].ranks[0].sends[0], plan.layers[0].ranks[0].sends[1]);
  auto const violations = validate(plan);
  REQUIRE(violations.size() == 3);
  CHECK(violations[0].rule == PlanRule::order_mismatch);
  check_text(violations[0].text, std::array{"message 0 from rank 0 to rank 1 is expert 1", "awaits expert 0"});
  CHECK(violations[1].rule == PlanRule::wrong_target);
}

TEST_CASE("damage to copies inside a rank is named") {
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].local_copies[0].source_row = LocalExpertId(1); }),
            PlanRule::wrong_source));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[0].local_copies[0].target_row = LocalExpertId(1); }),
            PlanRule::wrong_target));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[2].duplicates[0].source_row = LocalExpertId(2); }),
            PlanRule::wrong_source));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[2].duplicates.clear(); }), PlanRule::unwritten_row));
  CHECK(has(broken_by([](auto& p) { p.layers[0].ranks[3].local_copies[0].target_row = LocalExpertId(0); }),
            PlanRule::wrong_target));
}

TEST_CASE("damage to sizes, ids and mapping is named") {
  CHECK(broken_by([](auto& p) { p.layers.clear(); }) == std::vector{PlanRule::shape_mismatch});
  CHECK(broken_by([](auto& p) { p.layers[0].ranks.pop_back(); }) == std::vector{PlanRule::shape_mismatch});
  CHECK(broken_by([](auto& p) { p.after = p.after.contiguous(1, 5, 4); }) == std::vector{PlanRule::shape_mismatch});
  CHECK(broken_by([](auto& p) { p.mapping.new_rank_of = ranks({0}); }) == std::vector{PlanRule::invalid_mapping});
  CHECK(broken_by([](auto& p) { p.mapping.mode = ScaleMode::scale_down; }) == std::vector{PlanRule::invalid_mapping});
  CHECK(has(broken_by([](auto& p) {
              p.mapping = {ScaleMode::scale_down, ranks({0, 1, 2, -1})};
            }),
            PlanRule::invalid_mapping));
  CHECK(has(broken_by([](auto& p) {
              p.mapping = {ScaleMode::scale_up, ranks({0, 1, 3})};
            }),
            PlanRule::invalid_mapping));
  CHECK(broken_by([](auto& p) { p.mapping = {ScaleMode::scale_up, ranks({3, 1, 2, 0})}; }).empty());
}

TEST_CASE("require_valid counts the violations and quotes the first") {
  auto plan = worked_plan();
  switchyard::require_valid(plan);
  plan.layers[0].ranks[0].sends.clear();
  auto const text = support::error_text(ErrorCode::invalid_plan, [&] {
    switchyard::require_valid(plan);
    return 0;
  });
  check_text(text,
             std::array{"breaks 2 rules", "layer 0, rank 1: expert 2 is awaited from rank 0", "(unmatched_receive)"});
  auto const replay = support::error_text(ErrorCode::invalid_plan, [&] { return provenance(plan, 0).size(); });
  check_text(replay, std::array{"layer 0 cannot be replayed"});
  check_text(support::error_text(ErrorCode::invalid_argument, [&] { return provenance(plan, 1).size(); }),
             std::array{"layer 1 is outside [0, 1)"});
}
