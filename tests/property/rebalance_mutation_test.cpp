// SPDX-License-Identifier: Apache-2.0
// validate() must find every damage to a plan. A mutant counts as effective when an executor in plain loops, fed with
// the damaged lists, hangs, leaves its bounds or ends with wrong bytes; every effective mutant must be reported. The
// JSON round trip keeps plans and mutants, and the fingerprint tells them apart.
#include <doctest/doctest.h>

#include "support/property.hpp"
#include "support/rebalance_cases.hpp"
#include "switchyard/io/plan_json.hpp"

using support::MoveCase;
using switchyard::RebalancePlan;

namespace {

/// Position of a list entry in a plan; list 0 sends, 1 receives, 2 local copies, 3 duplicates.
struct Place {
  std::size_t layer;
  std::size_t rank;
  int list;
};

template <typename Visit>
void with_list(RebalancePlan& plan, Place place, Visit const& visit) {
  auto& lists = plan.layers[place.layer].ranks[place.rank];
  switch (place.list) {
    case 0: visit(lists.sends); break;
    case 1: visit(lists.receives); break;
    case 2: visit(lists.local_copies); break;
    default: visit(lists.duplicates); break;
  }
}

std::vector<Place> lists_with_entries(RebalancePlan& plan) {
  std::vector<Place> places;
  for (std::size_t layer = 0; layer < plan.layers.size(); ++layer)
    for (std::size_t rank = 0; rank < plan.layers[layer].ranks.size(); ++rank)
      for (int list = 0; list < 4; ++list)
        with_list(plan, {layer, rank, list}, [&](auto const& entries) {
          if (!entries.empty()) places.push_back({layer, rank, list});
        });
  return places;
}

/// Adds `by` to field `field` (0 expert, 1 row, 2 peer or target row) of an entry.
void shift(switchyard::ExpertSend& send, int field, int by) {
  if (field == 0) send.expert = switchyard::ExpertId(send.expert.value() + by);
  if (field == 1) send.source_row = switchyard::LocalExpertId(send.source_row.value() + by);
  if (field == 2) send.to = switchyard::RankId(send.to.value() + by);
}
void shift(switchyard::ExpertReceive& receive, int field, int by) {
  if (field == 0) receive.expert = switchyard::ExpertId(receive.expert.value() + by);
  if (field == 1) receive.target_row = switchyard::LocalExpertId(receive.target_row.value() + by);
  if (field == 2) receive.from = switchyard::RankId(receive.from.value() + by);
}
void shift(switchyard::LocalCopy& copy, int field, int by) {
  if (field == 0) copy.expert = switchyard::ExpertId(copy.expert.value() + by);
  if (field == 1) copy.source_row = switchyard::LocalExpertId(copy.source_row.value() + by);
  if (field == 2) copy.target_row = switchyard::LocalExpertId(copy.target_row.value() + by);
}

enum class Damage { drop, repeat, swap, change_field, move_to_other_rank };

/// @return what was done, for the counterexample.
std::string mutate(RebalancePlan& plan, Place place) {
  auto const damage = *rc::gen::element(Damage::drop, Damage::repeat, Damage::swap, Damage::change_field,
                                        Damage::change_field, Damage::move_to_other_rank);
  int const field = support::draw(0, 3);
  int const by = *rc::gen::element(-2, -1, 1, 2);
  auto const pick = support::draw<std::size_t>(0, 1000);
  auto const other_rank = support::draw<std::size_t>(0, plan.layers[place.layer].ranks.size());
  with_list(plan, place, [&](auto& entries) {
    auto const i = pick % entries.size();
    auto const position = entries.begin() + static_cast<std::ptrdiff_t>(i);
    auto const entry = entries[i];
    switch (damage) {
      case Damage::drop: entries.erase(position); break;
      case Damage::repeat: entries.insert(position, entry); break;
      case Damage::swap: std::swap(entries[i], entries[(i + 1) % entries.size()]); break;
      case Damage::change_field: shift(entries[i], field, by); break;
      case Damage::move_to_other_rank:
        entries.erase(position);
        with_list(plan, {place.layer, other_rank, place.list}, [&](auto& others) {
          if constexpr (std::is_same_v<decltype(others), decltype(entries)>) others.push_back(entry);
        });
        break;
    }
  });
  return "damage " + std::to_string(static_cast<int>(damage)) + " field " + std::to_string(field) + " by " +
         std::to_string(by) + " list " + std::to_string(place.list);
}

/// Whether executing the plan's lists misses the target in some layer.
bool is_broken(RebalancePlan const& plan, MoveCase const& move) {
  for (std::size_t layer = 0; layer < plan.layers.size(); ++layer) {
    auto const lists = support::plain(plan.layers[layer]);
    if (!oracle::fulfils(oracle::Executor(move.slots_per_rank, lists).run(), move.layer(layer))) return true;
  }
  return false;
}

struct Tally {
  int mutants = 0;
  int effective = 0;
  int found = 0;
};

}  // namespace

TEST_CASE("every effective mutant of a valid plan is reported") {
  Tally tally;
  CHECK(support::holds("mutants are reported", 10000, [&] {
    auto const move = support::random_move();
    auto plan = support::plan_of(move);
    auto const original = plan;
    auto const places = lists_with_entries(plan);
    RC_PRE(!places.empty());
    auto const what = mutate(plan, places[support::draw<std::size_t>(0, places.size())]);
    RC_PRE(!(plan == original));
    ++tally.mutants;
    RC_ASSERT(plan.fingerprint().value != original.fingerprint().value);
    if (!is_broken(plan, move)) return;
    ++tally.effective;
    auto const violations = validate(plan);
    RC_LOG(what);
    RC_ASSERT(!violations.empty());
    ++tally.found;
  }));
  MESSAGE("mutants " << tally.mutants << ", effective " << tally.effective << ", reported " << tally.found);
  CHECK(tally.effective > 1000);
  CHECK(tally.found == tally.effective);
}

TEST_CASE("a changed target placement is reported: the lists no longer lead there") {
  CHECK(support::holds("changed targets", 2000, [] {
    auto move = support::random_move();
    auto plan = support::plan_of(move);
    auto const layer = support::draw<std::size_t>(0, move.after.size());
    RC_PRE(!move.after[layer].empty());
    auto const slot = support::draw<std::size_t>(0, move.after[layer].size());
    move.after[layer][slot] = support::draw(-1, move.num_experts);
    plan.after = support::to_placement(move.num_experts, move.slots_per_rank, move.after);
    if (is_broken(plan, move)) RC_ASSERT(!validate(plan).empty());
  }));
}

TEST_CASE("JSON keeps every plan and every mutant, byte for byte the second time") {
  CHECK(support::holds("JSON round trip", 2000, [] {
    auto plan = support::plan_of(support::random_move());
    auto const places = lists_with_entries(plan);
    if (!places.empty() && *rc::gen::arbitrary<bool>())
      mutate(plan, places[support::draw<std::size_t>(0, places.size())]);
    auto const text = switchyard::io::to_json(plan, {"tool", "policy \"x\"", "load\n"});
    auto const back = switchyard::io::rebalance_plan_from_json(text, "round trip");
    RC_ASSERT(back == plan);
    RC_ASSERT(switchyard::io::to_json(back, {"tool", "policy \"x\"", "load\n"}) == text);
    auto const placement = switchyard::io::to_json(plan.before);
    RC_ASSERT(switchyard::io::placement_from_json(placement, "placement", 0, 0) == plan.before);
  }));
}
