// SPDX-License-Identifier: Apache-2.0
// Schedules against an executor in plain loops, over every small move and thousands of random ones; the fewest rounds
// against a search over everything that ranks could do; damaged schedules against the proof.
//
// Worked example: ranks with one slot each, before 0 | 1 | 1, after 1 | 0 | 0, one spare row. Round 0 swaps ranks 0 and
// 1 (both land in the spare row, because both slots are the last copies); rank 2, whose copy of 1 is not needed, takes
// 0 in round 1 from rank 0 or 1 straight into its slot. Nobody can do it in one round: two ranks lack 0, one rank has
// it.
#include <doctest/doctest.h>

#include <cstdlib>

#include "support/schedule_cases.hpp"
#include "switchyard/io/plan_json.hpp"

using oracle::Ints;
using support::draw;
using support::MoveCase;
using switchyard::BoundKind;
using switchyard::RebalanceSchedule;
using switchyard::ScheduleOptions;
using switchyard::Topology;

namespace {

RebalanceSchedule schedule_of(MoveCase const& move, ScheduleOptions const& options) {
  return plan_schedule(support::to_placement(move.num_experts, move.slots_per_rank, move.before),
                       support::to_placement(move.num_experts, move.slots_per_rank, move.after), {}, options);
}

ScheduleOptions random_options(int num_ranks) {
  ScheduleOptions options;
  options.spare_rows = *rc::gen::element(-1, -1, 1, 1, 2, 4);
  options.forwarding = draw(0, 3) != 0;
  options.max_transfers_per_round = *rc::gen::element(0, 0, 1, 2, 5);
  if (int const nodes = draw(0, num_ranks + 1); nodes > 0 && num_ranks % nodes == 0)
    options.topology = Topology(num_ranks, nodes);
  options.rates.intra_bytes_per_us = options.rates.network_bytes_per_us * draw(1, 5);
  return options;
}

/// The first problem that the oracle sees in any layer, in either order of ranks.
std::string problem_of(RebalanceSchedule const& schedule) {
  for (int layer = 0; layer < schedule.before.num_layers(); ++layer) {
    auto const lists = support::plain(schedule, layer);
    for (bool const reversed : {false, true}) {
      oracle::ScheduleRun const run(lists, reversed);
      if (!run.problem.empty()) return "layer " + std::to_string(layer) + ": " + run.problem;
    }
  }
  return {};
}

/// Sends and receives of every rank and round, by tier; the largest excess over 1 (network) or `intra`.
bool ports_are_kept(oracle::PlainSchedule const& lists, switchyard::ScheduleLimits const& limits) {
  auto const ranks = static_cast<int>(lists.before.size());
  int const per_node = limits.num_nodes == 0 ? 1 : ranks / limits.num_nodes;
  for (auto const& round : lists.rounds) {
    std::map<std::tuple<int, bool, bool>, int> uses;
    for (auto const& t : round.transfers) {
      bool const intra = t.from / per_node == t.to / per_node;
      for (bool const sends : {true, false})
        if (++uses[{sends ? t.from : t.to, sends, intra}] > (intra ? limits.intra_per_round : 1)) return false;
    }
    int const limit = limits.max_transfers_per_round;
    if (limit > 0 && static_cast<int>(round.transfers.size()) > limit) return false;
  }
  return true;
}

/// The most transfers that a rank of one layer sends or receives.
int max_degree(oracle::PlainSchedule const& lists) {
  std::map<int, int> sends;
  std::map<int, int> receives;
  int most = 0;
  for (auto const& round : lists.rounds)
    for (auto const& t : round.transfers) most = std::max({most, ++sends[t.from], ++receives[t.to]});
  return most;
}

bool changed_slots_are_written_once(oracle::PlainSchedule const& lists) {
  oracle::ScheduleRun const run(lists, false);
  for (std::size_t r = 0; r < lists.after.size(); ++r)
    for (std::size_t row = 0; row < lists.after[r].size(); ++row) {
      int const wanted = lists.after[r][row];
      bool const changes = wanted != -1 && wanted != lists.before[r][row];
      auto const writes = run.slot_writes.find({static_cast<int>(r), static_cast<int>(row)});
      if ((writes == run.slot_writes.end() ? 0 : writes->second) != (changes ? 1 : 0)) return false;
    }
  return true;
}

void check_schedule(RebalanceSchedule const& schedule) {
  auto const violations = validate(schedule);
  if (!violations.empty()) RC_LOG(violations.front().text);
  RC_ASSERT(violations.empty());
  RC_ASSERT(problem_of(schedule) == "");
  for (int layer = 0; layer < schedule.before.num_layers(); ++layer) {
    auto const lists = support::plain(schedule, layer);
    auto const& steps = schedule.layers[static_cast<std::size_t>(layer)];
    RC_ASSERT(ports_are_kept(lists, schedule.limits));
    RC_ASSERT(static_cast<int>(steps.rounds.size()) >= steps.bound.rounds);
    RC_ASSERT(oracle::ScheduleRun(lists, false).spare_rows_used == steps.spare_rows_used);
    if (schedule.limits.spare_rows != -1) continue;
    RC_ASSERT(is_buffered(schedule, layer));
    RC_ASSERT(changed_slots_are_written_once(lists));
  }
}

}  // namespace

TEST_CASE("random moves under random limits are proved, executed and round-tripped") {
  CHECK(support::holds("schedules", 3000, [] {
    auto const move = support::random_move();
    auto const schedule = schedule_of(move, random_options(static_cast<int>(move.slots_per_rank.size())));
    check_schedule(schedule);
    auto const text = switchyard::io::to_json(schedule, {"tool", "policy", "load"});
    auto const back = switchyard::io::rebalance_schedule_from_json(text, "round trip");
    RC_ASSERT(back == schedule);
    RC_ASSERT(back.fingerprint() == schedule.fingerprint());
    RC_ASSERT(switchyard::io::to_json(back, {"tool", "policy", "load"}) == text);
  }));
}

TEST_CASE("fully buffered direct sends need exactly as many rounds as the busiest rank or the limit says") {
  CHECK(support::holds("max-degree rounds", 2000, [] {
    auto const move = support::random_move();
    ScheduleOptions options;
    options.forwarding = false;
    options.max_transfers_per_round = *rc::gen::element(0, 1, 3);
    auto const schedule = schedule_of(move, options);
    for (int layer = 0; layer < schedule.before.num_layers(); ++layer) {
      auto const lists = support::plain(schedule, layer);
      int transfers = 0;
      for (auto const& round : lists.rounds) transfers += static_cast<int>(round.transfers.size());
      int const limit = options.max_transfers_per_round;
      int const by_limit = limit == 0 ? 0 : (transfers + limit - 1) / limit;
      RC_ASSERT(static_cast<int>(lists.rounds.size()) == std::max(max_degree(lists), by_limit));
    }
  }));
}

TEST_CASE("an expert crosses the network once per node that lacks it") {
  CHECK(support::holds("node relay", 1000, [] {
    auto const move = support::random_move(true);
    int const ranks = static_cast<int>(move.slots_per_rank.size());
    int const nodes = *rc::gen::element(1, 2, 3, 4);
    RC_PRE(ranks % nodes == 0);
    ScheduleOptions options;
    options.topology = Topology(ranks, nodes);
    options.spare_rows = *rc::gen::element(-1, 1, 2);
    auto const schedule = schedule_of(move, options);
    for (int layer = 0; layer < schedule.before.num_layers(); ++layer) {
      std::set<std::pair<int, int>> imports;  // expert, node
      auto const lists = support::plain(schedule, layer);
      for (auto const& round : lists.rounds)
        for (auto const& t : round.transfers)
          if (int const node = t.to / (ranks / nodes); t.from / (ranks / nodes) != node)
            RC_ASSERT(imports.insert({t.expert, node}).second);
    }
  }));
}

namespace {

/// Calls `visit` with every list of `length` numbers in [low, high).
template <typename Visit>
void for_all_lists(std::size_t length, int low, int high, Visit const& visit) {
  Ints list(length, low);
  for (;;) {
    visit(list);
    std::size_t i = 0;
    while (i < length && ++list[i] == high) list[i++] = low;
    if (i == length) return;
  }
}

struct SmallScope {
  int moves = 0;
  int optimal_direct = 0;
  int optimal_forwarded = 0;
  int optimal_one_spare_row = 0;
};

void compare_with_search(Ints const& slots_per_rank, Ints const& before, Ints const& after, SmallScope& scope) {
  MoveCase const move{3, slots_per_rank, {before}, {after}};
  for (int e : after)
    if (e != -1 && std::find(before.begin(), before.end(), e) == before.end()) return;
  ++scope.moves;
  int fewest[2] = {};
  for (auto const& [spare_rows, forwarding] : {std::pair(-1, false), {-1, true}, {1, true}}) {
    ScheduleOptions options;
    options.spare_rows = spare_rows;
    options.forwarding = forwarding;
    auto const schedule = schedule_of(move, options);
    REQUIRE(validate(schedule).empty());
    REQUIRE(problem_of(schedule).empty());
    auto const lists = support::plain(schedule, 0);
    auto const rounds = static_cast<int>(lists.rounds.size());
    if (spare_rows == -1) fewest[forwarding] = oracle::FewestRounds(lists.before, lists.after, forwarding).run();
    REQUIRE(schedule.layers[0].bound.rounds <= fewest[forwarding]);
    if (!forwarding) {
      REQUIRE(rounds == fewest[0]);
      ++scope.optimal_direct;
    } else if (rounds == fewest[1]) {
      ++(spare_rows == -1 ? scope.optimal_forwarded : scope.optimal_one_spare_row);
    }
  }
}

}  // namespace

TEST_CASE("every small move: direct sends are optimal, bounds hold, one spare row suffices") {
  SmallScope scope;
  bool const deep = std::getenv("SWITCHYARD_EXHAUSTIVE") != nullptr;
  std::vector<Ints> layouts = {{1, 1, 1}, {2, 1}, {2, 2}};
  if (deep) layouts.insert(layouts.end(), {{1, 1, 1, 1}, {2, 2, 1}, {3, 2}});
  for (Ints const& layout : layouts) {
    std::size_t slots = 0;
    for (int n : layout) slots += static_cast<std::size_t>(n);
    for_all_lists(slots, -1, 3, [&](Ints const& before) {
      for_all_lists(slots, -1, 3, [&](Ints const& after) { compare_with_search(layout, before, after, scope); });
    });
  }
  MESSAGE(scope.moves << " moves; as few rounds as possible: direct " << scope.optimal_direct << ", forwarding "
                      << scope.optimal_forwarded << ", one spare row " << scope.optimal_one_spare_row);
  CHECK(scope.moves > 10000);
  CHECK(scope.optimal_direct == scope.moves);
  CHECK(scope.optimal_forwarded * 100 >= scope.moves * 99);
}

namespace {

struct Slot {
  switchyard::RowTransfer* transfer = nullptr;
  switchyard::RowCopy* copy = nullptr;
};

std::vector<Slot> steps_of(RebalanceSchedule& schedule) {
  std::vector<Slot> steps;
  for (auto& layer : schedule.layers) {
    for (auto& round : layer.rounds) {
      for (auto& transfer : round.transfers) steps.push_back({&transfer, nullptr});
      for (auto& copy : round.copies) steps.push_back({nullptr, &copy});
    }
    for (auto& copy : layer.commit) steps.push_back({nullptr, &copy});
  }
  return steps;
}

template <typename Id>
void shift(Id& id, int by) {
  id = Id(id.value() + by);
}

void change_field(Slot step, int field, int by) {
  if (step.transfer != nullptr) {
    auto& t = *step.transfer;
    if (field == 0) shift(t.expert, by);
    if (field == 1) shift(t.from, by);
    if (field == 2) shift(t.source_row, by);
    if (field == 3) shift(t.to, by);
    if (field == 4) shift(t.target_row, by);
  } else {
    auto& c = *step.copy;
    if (field == 0) shift(c.expert, by);
    if (field <= 2 && field > 0) shift(c.source_row, by);
    if (field > 2) shift(c.target_row, by);
  }
}

template <typename List>
void drop_or_repeat(List& list, bool drop) {
  if (list.empty()) return;
  auto const i = static_cast<std::ptrdiff_t>(draw<std::size_t>(0, list.size()));
  auto const entry = list[static_cast<std::size_t>(i)];
  if (drop)
    list.erase(list.begin() + i);
  else
    list.insert(list.begin() + i, entry);
}

void mutate(RebalanceSchedule& schedule) {
  auto const steps = steps_of(schedule);
  auto& layer = schedule.layers[draw<std::size_t>(0, schedule.layers.size())];
  int const kind = draw(0, 7);
  if (kind <= 2 && !steps.empty())
    change_field(steps[draw<std::size_t>(0, steps.size())], draw(0, 5), *rc::gen::element(-2, -1, 1, 2));
  else if (kind == 3 && layer.rounds.size() > 1)
    std::swap(layer.rounds[0], layer.rounds[1]);
  else if (kind == 4 && !layer.rounds.empty())
    drop_or_repeat(layer.rounds[draw<std::size_t>(0, layer.rounds.size())].transfers, draw(0, 2) == 0);
  else if (kind == 5)
    drop_or_repeat(layer.commit, draw(0, 2) == 0);
  else if (kind == 6 && layer.rounds.size() > 1) {
    auto& first = layer.rounds[0].transfers;
    auto& second = layer.rounds[1].transfers;
    first.insert(first.end(), second.begin(), second.end());
    layer.rounds.erase(layer.rounds.begin() + 1);
  }
}

/// What the oracle thinks of all of it, ports and stated spare rows included.
bool is_broken(RebalanceSchedule const& schedule) {
  if (!problem_of(schedule).empty()) return true;
  for (int layer = 0; layer < schedule.before.num_layers(); ++layer) {
    auto const lists = support::plain(schedule, layer);
    if (!ports_are_kept(lists, schedule.limits)) return true;
    if (oracle::ScheduleRun(lists, false).spare_rows_used !=
        schedule.layers[static_cast<std::size_t>(layer)].spare_rows_used)
      return true;
  }
  return false;
}

}  // namespace

TEST_CASE("every effective mutant of a valid schedule is reported") {
  int mutants = 0;
  int effective = 0;
  int reported = 0;
  CHECK(support::holds("schedule mutants", 8000, [&] {
    auto const move = support::random_move();
    auto schedule = schedule_of(move, random_options(static_cast<int>(move.slots_per_rank.size())));
    auto const original = schedule;
    mutate(schedule);
    RC_PRE(!(schedule == original));
    ++mutants;
    RC_ASSERT(!(schedule.fingerprint() == original.fingerprint()));
    if (!is_broken(schedule)) return;
    ++effective;
    RC_ASSERT(!validate(schedule).empty());
    ++reported;
  }));
  MESSAGE("mutants " << mutants << ", effective " << effective << ", reported " << reported);
  CHECK(effective > 1000);
  CHECK(reported == effective);
}
