// SPDX-License-Identifier: Apache-2.0
// Schedules: worked moves, bounds with their witnesses, limits, reloads, refusals and the name of every broken rule.
//
// Worked example (reference figures of the compatible planner's test): four ranks with three slots, before 0 1 2 | 0 3
// 3 | 1 - 4 | 4 2 0, after 3 1 0 | 0 2 4 | 3 3 1 | - 4 2. Expert 3 goes from rank 1 to ranks 0 and 2, expert 2 to rank
// 1 (from rank 0 or 3), expert 4 to rank 1 (from rank 2 or 3): rank 1 sends two and receives two, so two rounds are
// needed and enough.
#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "support/schedule_cases.hpp"
#include "switchyard/io/plan_json.hpp"

using oracle::Ints;
using switchyard::BoundKind;
using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertPlacement;
using switchyard::LocalExpertId;
using switchyard::MissingExperts;
using switchyard::plan_schedule;
using switchyard::PlanRule;
using switchyard::RankId;
using switchyard::RankMapping;
using switchyard::RebalanceSchedule;
using switchyard::Reload;
using switchyard::ScaleMode;
using switchyard::ScheduleOptions;
using switchyard::SenderRule;
using switchyard::Topology;

namespace {

ExpertPlacement placement(int num_experts, Ints const& slots_per_rank, Ints const& layer) {
  return support::to_placement(num_experts, slots_per_rank, {layer});
}

RebalanceSchedule worked(ScheduleOptions const& options = {}) {
  Ints const slots = {3, 3, 3, 3};
  return plan_schedule(placement(5, slots, {0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0}),
                       placement(5, slots, {3, 1, 0, 0, 2, 4, 3, 3, 1, -1, 4, 2}), {}, options);
}

/// One slot per rank.
RebalanceSchedule thin(Ints const& before, Ints const& after, ScheduleOptions const& options = {}) {
  Ints const slots(before.size(), 1);
  auto const schedule = plan_schedule(placement(9, slots, before), placement(9, slots, after), {}, options);
  CHECK(validate(schedule).empty());
  return schedule;
}

std::size_t rounds_of(RebalanceSchedule const& schedule) {
  return schedule.layers.at(0).rounds.size();
}

template <typename Change>
bool breaks(RebalanceSchedule schedule, PlanRule rule, Change const& damage) {
  damage(schedule);
  auto const violations = validate(schedule);
  for (auto const& violation : violations)
    if (violation.rule == rule) return true;
  for (auto const& violation : violations) MESSAGE(violation.text);
  return false;
}

}  // namespace

TEST_CASE("the worked example needs two rounds, and its bound says why") {
  auto const schedule = worked();
  CHECK(validate(schedule).empty());
  CHECK(rounds_of(schedule) == 2);
  CHECK(schedule.layers[0].bound.kind == BoundKind::receive);
  CHECK(schedule.layers[0].bound.rounds == 2);
  CHECK(schedule.layers[0].bound.ranks == std::vector{RankId(1)});
  CHECK(is_buffered(schedule, 0));
  auto const sums = totals(schedule);
  CHECK(sums.rounds == 2);
  CHECK(sums.max_degree == 2);
  CHECK(sums.network_transfers == 4);
  // Commit: 3 and 0 on rank 0, 2 and 4 on rank 1, 3, 3 and 1 on rank 2, 4 and 2 on rank 3.
  CHECK(sums.copies == 9);
}

TEST_CASE("bytes and times of the worked example") {
  auto const schedule = worked({.expert_bytes = 100'000});
  auto const sums = totals(schedule, {.network_bytes_per_us = 50, .intra_bytes_per_us = 400});
  CHECK(sums.makespan_ns == 2 * 2'000'000);
  CHECK(sums.bound_ns == sums.makespan_ns);
  CHECK(sums.spare_rows_used == 2);
  CHECK(sums.peak_extra_bytes == 200'000);
  CHECK(support::contains(support::error_text(ErrorCode::invalid_argument,
                                              [&] {
                                                return totals(schedule, {0, 1});
                                              }),
                          "at least 1"));
}

TEST_CASE("a swap with one spare row: both land there, then both slots are written") {
  auto const schedule = thin({0, 1}, {1, 0}, {.spare_rows = 1});
  REQUIRE(rounds_of(schedule) == 1);
  auto const& round = schedule.layers[0].rounds[0];
  REQUIRE(round.transfers.size() == 2);
  for (auto const& transfer : round.transfers) CHECK(transfer.target_row == LocalExpertId(1));
  CHECK(round.copies.size() == 2);
  CHECK(schedule.layers[0].commit.empty());
  CHECK(!is_buffered(schedule, 0));
}

TEST_CASE("a chain needs no spare row when its end may be overwritten") {
  // Rank 2's expert 5 has no place in the new map, so 1 lands in its slot; then 0 lands where 1 was.
  auto const schedule = thin({0, 1, 5}, {0, 0, 1}, {.spare_rows = 1});
  CHECK(schedule.layers[0].rounds[0].transfers.size() == 2);
  CHECK(schedule.layers[0].spare_rows_used == 1);
  CHECK(rounds_of(schedule) == 1);
}

TEST_CASE("a cycle inside a rank needs one spare row and no round") {
  Ints const slots = {3};
  auto const schedule = plan_schedule(placement(3, slots, {0, 1, 2}), placement(3, slots, {1, 2, 0}));
  CHECK(validate(schedule).empty());
  CHECK(rounds_of(schedule) == 0);
  CHECK(schedule.layers[0].commit.size() == 4);
  CHECK(schedule.layers[0].spare_rows_used == 1);
}

TEST_CASE("forwarding doubles the copies of an expert every round") {
  Ints const before = {0, 1, 2, 3, 4, 5, 6, 7};
  Ints const after(8, 0);
  CHECK(rounds_of(thin(before, after, {.forwarding = false})) == 7);
  auto const schedule = thin(before, after);
  CHECK(rounds_of(schedule) == 3);
  CHECK(schedule.layers[0].bound.kind == BoundKind::spread);
  CHECK(schedule.layers[0].bound.rounds == 3);
  CHECK(rounds_of(thin(before, after, {.spare_rows = 1})) == 3);
}

TEST_CASE("senders share the work, and a witness set proves that they must") {
  // Ranks 0 and 1 alone hold experts 0 to 3, which ranks 2 to 5 want: two sends each.
  Ints const slots = {4, 4, 1, 1, 1, 1};
  auto const schedule = plan_schedule(placement(8, slots, {0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7}),
                                      placement(8, slots, {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}));
  CHECK(rounds_of(schedule) == 2);
  CHECK(schedule.layers[0].bound.kind == BoundKind::send);
  CHECK(schedule.layers[0].bound.ranks == std::vector{RankId(0), RankId(1)});
  auto const compatible = plan_schedule(schedule.before, schedule.after, {}, {.senders = SenderRule::compatible});
  CHECK(validate(compatible).empty());
  CHECK(rounds_of(compatible) == 4);  // vLLM's arithmetic takes the first holder of every expert
}

TEST_CASE("compatible senders are the pairs of plan_rebalance") {
  auto const schedule = worked({.senders = SenderRule::compatible});
  auto const plan = switchyard::plan_rebalance(schedule.before, schedule.after);
  std::size_t found = 0;
  for (auto const& round : schedule.layers[0].rounds)
    for (auto const& t : round.transfers)
      for (auto const& send : plan.layers[0].ranks[t.from.index()].sends)
        found += send.expert == t.expert && send.to == t.to && send.source_row == t.source_row ? 1U : 0U;
  CHECK(found == 4);
}

TEST_CASE("an expert crosses to a node once and is passed on there") {
  Ints const before = {0, 1, 2, 3, 4, 5, 6, 7};
  auto const schedule = thin(before, Ints(8, 0), {.topology = Topology(8, 2)});
  auto const sums = totals(schedule);
  CHECK(sums.network_transfers == 1);
  CHECK(sums.intra_transfers == 6);
  CHECK(rounds_of(schedule) == 2);  // nine transfers inside a node fit into a network round
}

TEST_CASE("no more transfers under way than allowed") {
  Ints const before = {0, 1, 2, 3, 4, 5};
  Ints const after = {1, 2, 3, 4, 5, 0};
  CHECK(rounds_of(thin(before, after)) == 1);
  auto const limited = thin(before, after, {.max_transfers_per_round = 4});
  CHECK(rounds_of(limited) == 2);
  CHECK(limited.layers[0].rounds[0].transfers.size() + limited.layers[0].rounds[1].transfers.size() == 6);
}

TEST_CASE("dead ranks are left out, and what died with them is to be reloaded, slot by slot") {
  // Rank 1 is dead: experts 2 and 3 have no other copy; expert 1 has one on rank 2.
  Ints const slots = {2, 3, 2};
  auto const before = placement(5, slots, {0, 4, 1, 2, 3, 1, 4});
  auto const after = placement(5, slots, {1, 2, 0, 1, 2, 2, 3});
  ScheduleOptions options{.dead_ranks = {RankId(1)}};
  auto const text = support::error_text(ErrorCode::missing_source,
                                        [&] { return plan_schedule(before, after, {}, options).layers.size(); });
  CHECK(support::contains(text, "expert 2 of layer 0"));
  CHECK(support::contains(text, "expert 3 of layer 0"));
  options.missing = MissingExperts::reload;
  auto const schedule = plan_schedule(before, after, {}, options);
  CHECK(validate(schedule).empty());
  CHECK(schedule.reloads == std::vector<Reload>{{0, RankId(0), LocalExpertId(1), ExpertId(2)},
                                                {0, RankId(2), LocalExpertId(0), ExpertId(2)},
                                                {0, RankId(2), LocalExpertId(1), ExpertId(3)}});
  REQUIRE(rounds_of(schedule) == 1);
  CHECK(schedule.layers[0].rounds[0].transfers ==
        std::vector<switchyard::RowTransfer>{{ExpertId(1), RankId(2), LocalExpertId(0), RankId(0), LocalExpertId(2)}});
  auto const text2 = support::error_text(ErrorCode::invalid_argument, [&] {
    return plan_schedule(before, after, {}, {.dead_ranks = {RankId(3)}}).layers.size();
  });
  CHECK(support::contains(text2, "dead rank 3 is outside"));
}

TEST_CASE("scaling: leaving ranks only send, joining ranks only receive") {
  auto const four = placement(4, {1, 1, 1, 1}, {0, 1, 2, 3});
  auto const two = placement(4, {1, 1}, {3, 2});
  RankMapping const down{ScaleMode::scale_down, {RankId(-1), RankId(1), RankId(0), RankId(-1)}};
  auto const shrunk = plan_schedule(four, two, down);
  CHECK(validate(shrunk).empty());
  CHECK(target_placement(shrunk) == two);
  for (auto const& t : shrunk.layers[0].rounds.at(0).transfers) CHECK((t.to == RankId(1) || t.to == RankId(2)));
  auto const grown =
      plan_schedule(two, four, {ScaleMode::scale_up, {RankId(3), RankId(0)}}, {.missing = MissingExperts::reload});
  CHECK(validate(grown).empty());
  CHECK(grown.reloads.size() == 2);
}

TEST_CASE("empty groups, layers and ranks") {
  CHECK(validate(RebalanceSchedule{}).empty());
  CHECK(validate(plan_schedule(ExpertPlacement{}, ExpertPlacement{})).empty());
  auto const none = support::to_placement(3, {2, 0}, {});
  CHECK(validate(plan_schedule(none, none)).empty());
  auto const same = placement(3, {2, 0, 1}, {0, 1, 2});
  auto const schedule = plan_schedule(same, same);
  CHECK(rounds_of(schedule) == 0);
  CHECK(schedule.layers[0].bound.kind == BoundKind::none);
  CHECK(totals(schedule).makespan_ns == 0);
}

TEST_CASE("impossible options are refused") {
  auto const text = [](ScheduleOptions const& options, ErrorCode code = ErrorCode::invalid_argument) {
    return support::error_text(code, [&] { return worked(options).layers.size(); });
  };
  CHECK(support::contains(text({.spare_rows = 0}), "swaps and cycles need at least 1"));
  CHECK(support::contains(text({.max_transfers_per_round = -1}), "-1 transfers per round"));
  CHECK(support::contains(text({.rates = {0, 1}}), "both are at least 1"));
  CHECK(support::contains(text({.topology = Topology(8, 2)}, ErrorCode::shape_mismatch), "topology is for 8 ranks"));
  CHECK(support::contains(text({.spare_rows = 2, .senders = SenderRule::compatible}), "full buffering"));
}

TEST_CASE("contents of an interrupted layer") {
  auto const schedule = thin({0, 1}, {1, 0}, {.spare_rows = 1});
  using Rows = std::vector<std::vector<ExpertId>>;
  ExpertId const none(-1), zero(0), one(1);
  CHECK(contents_after(schedule, 0, 0).rows == Rows{{zero, none}, {one, none}});
  CHECK(contents_after(schedule, 0, 1).rows == Rows{{one, one}, {zero, zero}});
  auto const chain = thin({0, 1, 5}, {0, 0, 1}, {.spare_rows = 1});
  // Rank 2 receives straight into its slot: while that is under way, nobody knows what is there.
  CHECK(contents_after(chain, 0, 0, true).rows[2][0] == none);
  CHECK(contents_after(chain, 0, 0, true).rows[1][0] == one);
  CHECK(contents_after(chain, 0, 2).rows[2][0] == one);
}

TEST_CASE("damage to transfers is named") {
  auto const schedule = worked();
  auto const transfer = [](RebalanceSchedule& s) -> switchyard::RowTransfer& {
    return s.layers[0].rounds[0].transfers[0];
  };
  CHECK(breaks(schedule, PlanRule::wrong_source, [&](auto& s) { transfer(s).source_row = LocalExpertId(0); }));
  CHECK(breaks(schedule, PlanRule::id_out_of_range, [&](auto& s) { transfer(s).source_row = LocalExpertId(6); }));
  CHECK(breaks(schedule, PlanRule::id_out_of_range, [&](auto& s) { transfer(s).to = RankId(4); }));
  CHECK(breaks(schedule, PlanRule::self_transfer, [&](auto& s) { transfer(s).to = transfer(s).from; }));
  CHECK(breaks(schedule, PlanRule::wrong_target, [&](auto& s) {
    transfer(s) = {ExpertId(0), RankId(0), LocalExpertId(0), RankId(3), LocalExpertId(0)};
  }));
  CHECK(breaks(schedule, PlanRule::written_twice, [&](auto& s) {
    transfer(s) = {ExpertId(4), RankId(2), LocalExpertId(2), RankId(0), LocalExpertId(1)};
  }));
  CHECK(breaks(schedule, PlanRule::busy_port, [](auto& s) {
    auto& rounds = s.layers[0].rounds;
    rounds[0].transfers.insert(rounds[0].transfers.end(), rounds[1].transfers.begin(), rounds[1].transfers.end());
    rounds.pop_back();
  }));
  CHECK(breaks(schedule, PlanRule::unwritten_row, [](auto& s) { s.layers[0].commit.clear(); }));
  auto const text = support::error_text(ErrorCode::invalid_plan, [&] {
    auto damaged = schedule;
    damaged.layers[0].commit.pop_back();
    require_valid(damaged);
    return 0;
  });
  CHECK(support::contains(text, "must not be executed"));
}

TEST_CASE("overwriting the last copy is named, also when only a slow rank would lose it") {
  auto swap = thin({0, 1}, {1, 0}, {.spare_rows = 1});
  CHECK(breaks(swap, PlanRule::last_copy, [](auto& s) {
    s.layers[0].rounds[0].transfers[0].target_row = LocalExpertId(0);  // into the only copy of expert 1
    s.layers[0].rounds[0].copies.pop_back();
  }));
  CHECK(breaks(swap, PlanRule::busy_row,
               [](auto& s) { s.layers[0].rounds[0].transfers[0].target_row = LocalExpertId(0); }));
  // Expert 0 is on both ranks and wanted in the other row of each. Overwriting it first on either is harmless alone.
  Ints const slots = {2, 2};
  auto both = plan_schedule(placement(2, slots, {0, 1, 0, 1}), placement(2, slots, {1, 0, 1, 0}));
  CHECK(validate(both).empty());
  CHECK(breaks(both, PlanRule::last_copy, [](auto& s) {
    auto& commit = s.layers[0].commit;
    commit.clear();
    for (int rank : {0, 1}) commit.push_back({ExpertId(1), RankId(rank), LocalExpertId(1), LocalExpertId(0)});
  }));
}

TEST_CASE("damage to claims, limits, dead ranks and reloads is named") {
  auto const schedule = worked();
  CHECK(breaks(schedule, PlanRule::wrong_claim, [](auto& s) { ++s.layers[0].bound.rounds; }));
  CHECK(breaks(schedule, PlanRule::wrong_claim, [](auto& s) { s.layers[0].bound.ranks = {RankId(0)}; }));
  CHECK(breaks(schedule, PlanRule::wrong_claim, [](auto& s) { s.layers[0].bound.kind = BoundKind::node; }));
  CHECK(breaks(schedule, PlanRule::wrong_claim, [](auto& s) { ++s.layers[0].spare_rows_used; }));
  CHECK(breaks(schedule, PlanRule::wrong_claim, [](auto& s) { s.limits.num_nodes = 3; }));
  CHECK(breaks(schedule, PlanRule::wrong_claim, [](auto& s) { s.limits.spare_rows = 1 << 30; }));
  CHECK(breaks(schedule, PlanRule::dead_rank, [](auto& s) { s.dead_ranks = {RankId(1)}; }));
  CHECK(breaks(schedule, PlanRule::wrong_reload, [](auto& s) {
    s.reloads = {{0, RankId(3), LocalExpertId(0), ExpertId(3)}};
  }));
  CHECK(breaks(schedule, PlanRule::shape_mismatch, [](auto& s) { s.layers.clear(); }));
  CHECK(breaks(schedule, PlanRule::invalid_mapping, [](auto& s) { s.mapping.new_rank_of = {RankId(0)}; }));
}

TEST_CASE("files of either kind are told apart, and a schedule stands for its target") {
  auto const schedule = worked();
  auto const plan = switchyard::plan_rebalance(schedule.before, schedule.after);
  CHECK(switchyard::io::rebalance_from_json(switchyard::io::to_json(schedule), "s").index() == 1);
  CHECK(switchyard::io::rebalance_from_json(switchyard::io::to_json(plan), "p").index() == 0);
  CHECK(switchyard::io::placement_from_json(switchyard::io::to_json(schedule), "s", 0, 0) == schedule.after);
  auto text = switchyard::io::to_json(schedule);
  text.replace(text.find("\"kind\":\"receive\""), 16, "\"kind\":\"recieve\"");
  CHECK(support::contains(
      support::error_text(ErrorCode::parse,
                          [&] { return switchyard::io::rebalance_schedule_from_json(text, "s").layers.size(); }),
      "receive, node, send or spread"));
  auto other = schedule;
  ++other.expert_bytes;
  CHECK(!(other.fingerprint() == schedule.fingerprint()));
}
