// SPDX-License-Identifier: Apache-2.0
// The planner against an oracle in plain loops, over every small move and thousands of random ones.
//
// Worked example: two ranks with two slots, before 0 1 | 2 3, after 0 2 | 1 1. Rank 0 sends expert 1 from its row 1 and
// gets expert 2 there; rank 1 gets expert 1 once, in row 0, and duplicates it to row 1; expert 3 is gone.
#include <doctest/doctest.h>

#include "support/property.hpp"
#include "support/rebalance_cases.hpp"
#include "switchyard/types/error.hpp"

using oracle::Ints;
using support::MoveCase;
using switchyard::RankId;
using switchyard::RankMapping;
using switchyard::RebalancePlan;
using switchyard::ScaleMode;

namespace {

/// @return empty, or what differs from the oracle.
std::string difference(RebalancePlan const& plan, MoveCase const& move) {
  auto const violations = validate(plan);
  if (!violations.empty()) return "not valid: " + violations.front().text;
  for (std::size_t layer = 0; layer < move.before.size(); ++layer) {
    auto const lists = oracle::all_transfers(move.layer(layer));
    if (support::plain(plan.layers[layer]) != lists)
      return "other lists than the oracle in layer " + std::to_string(layer);
    auto const outcome = oracle::Executor(move.slots_per_rank, lists).run();
    if (!oracle::fulfils(outcome, move.layer(layer))) return "the oracle's own lists do not lead to the target";
    if (support::plain(provenance(plan, static_cast<int>(layer))) != outcome.origin)
      return "rows come from other slots";
  }
  return {};
}

/// Plans when the oracle finds a source for everything, expects a refusal naming the experts otherwise.
std::string check_move(MoveCase const& move) {
  auto const before = support::to_placement(move.num_experts, move.slots_per_rank, move.before);
  auto const after = support::to_placement(move.num_experts, move.slots_per_rank, move.after);
  std::size_t missing = 0;
  for (std::size_t layer = 0; layer < move.before.size(); ++layer)
    missing += oracle::missing_experts(move.layer(layer)).size();
  auto const problems = check_request(before, after);
  if (problems.size() != missing) return "check_request finds another number of problems";
  try {
    auto const plan = plan_rebalance(before, after);
    return missing == 0 ? difference(plan, move) : "planned without a source";
  } catch (switchyard::Error const& error) {
    return missing > 0 && error.code() == switchyard::ErrorCode::missing_source ? std::string() : error.what();
  }
}

Ints digits_of(std::size_t number, std::size_t count, int base) {
  Ints digits(count);
  for (auto& digit : digits) {
    digit = static_cast<int>(number % static_cast<std::size_t>(base)) - 1;
    number /= static_cast<std::size_t>(base);
  }
  return digits;
}

/// Every pair of maps of `slots_per_rank` with `num_experts` experts and empty slots.
void check_all_moves(Ints const& slots_per_rank, int num_experts) {
  auto const slots = oracle::at(oracle::first_slot(slots_per_rank, oracle::count(slots_per_rank)));
  std::size_t maps = 1;
  for (std::size_t slot = 0; slot < slots; ++slot) maps *= oracle::at(num_experts + 1);
  for (std::size_t old_map = 0; old_map < maps; ++old_map) {
    for (std::size_t new_map = 0; new_map < maps; ++new_map) {
      MoveCase const move{num_experts,
                          slots_per_rank,
                          {digits_of(old_map, slots, num_experts + 1)},
                          {digits_of(new_map, slots, num_experts + 1)}};
      auto const problem = check_move(move);
      CAPTURE(old_map);
      CAPTURE(new_map);
      REQUIRE_EQ(problem, std::string());
    }
  }
}

/// A random injective mapping: `old_ranks` old ranks, of which `staying` become the first `new_ranks` in random order.
std::vector<RankId> random_mapping(int old_ranks, int new_ranks, int staying) {
  Ints targets(oracle::at(new_ranks));
  for (int rank = 0; rank < new_ranks; ++rank) targets[oracle::at(rank)] = rank;
  auto const keys = support::draw_list(oracle::at(new_ranks), 0, 1000);
  std::stable_sort(targets.begin(), targets.end(),
                   [&](int a, int b) { return keys[oracle::at(a)] < keys[oracle::at(b)]; });
  auto const old_keys = support::draw_list(oracle::at(old_ranks), 0, 1000);
  Ints order(oracle::at(old_ranks));
  for (int rank = 0; rank < old_ranks; ++rank) order[oracle::at(rank)] = rank;
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return old_keys[oracle::at(a)] < old_keys[oracle::at(b)]; });
  std::vector<RankId> mapping(oracle::at(old_ranks), RankId(-1));
  for (int i = 0; i < staying; ++i) mapping[oracle::at(order[oracle::at(i)])] = RankId(targets[oracle::at(i)]);
  return mapping;
}

Ints plain_mapping(std::vector<RankId> const& mapping) {
  Ints out;
  for (auto const rank : mapping) out.push_back(rank.value());
  return out;
}

/// `before` lives on the old ranks, `after` on the new ones; the oracle spreads both over the executing group.
std::string check_scaling(ScaleMode mode, int block, int num_experts, Ints const& before, Ints const& after,
                          std::vector<RankId> const& mapping) {
  auto const ranks_of = [&](Ints const& map) { return oracle::count(map) / block; };
  auto const uniform = [&](int ranks) { return Ints(oracle::at(ranks), block); };
  bool const up = mode == ScaleMode::scale_up;
  int const group = up ? ranks_of(after) : ranks_of(before);
  MoveCase move{num_experts, uniform(group), {before}, {after}};
  if (up) move.before = {oracle::spread_blocks(before, block, plain_mapping(mapping), group)};
  if (!up) move.after = {oracle::gather_blocks(after, block, plain_mapping(mapping))};
  auto const old_placement = support::to_placement(num_experts, uniform(ranks_of(before)), {before});
  auto const new_placement = support::to_placement(num_experts, uniform(ranks_of(after)), {after});
  bool const possible = oracle::missing_experts(move.layer(0)).empty();
  try {
    auto const plan = plan_rebalance(old_placement, new_placement, RankMapping{mode, mapping});
    if (!possible) return "planned without a source";
    if (!(target_placement(plan) == new_placement)) return "the target is not the new placement";
    return difference(plan, move);
  } catch (switchyard::Error const& error) {
    return !possible && error.code() == switchyard::ErrorCode::missing_source ? std::string() : error.what();
  }
}

}  // namespace

TEST_CASE("every move of two ranks with two slots and two experts equals the oracle") {
  check_all_moves({2, 2}, 2);
}

TEST_CASE("every move of three ranks with one slot and three experts equals the oracle") {
  check_all_moves({1, 1, 1}, 3);
}

TEST_CASE("every move of ranks with 0, 3 and 1 slots and two experts equals the oracle") {
  check_all_moves({0, 3, 1}, 2);
}

TEST_CASE("random moves with replicas, holes and uneven ranks equal the oracle") {
  CHECK(support::holds("plan == oracle", 4000, [] { RC_ASSERT(check_move(support::random_move()) == std::string()); }));
}

TEST_CASE("random moves towards experts that nobody may hold are refused or equal the oracle") {
  CHECK(support::holds("plan == oracle or refused", 2000, [] {
    auto move = support::random_move(true);
    for (auto& layer : move.after) layer = support::random_slots(layer.size(), move.num_experts);
    RC_ASSERT(check_move(move) == std::string());
  }));
}

TEST_CASE("scaling up spreads the old placement over the new group") {
  CHECK(support::holds("scale up", 2000, [] {
    int const new_ranks = support::draw(1, 8);
    int const old_ranks = support::draw(1, new_ranks + 1);
    int const block = support::draw(1, 4);
    int const staying = support::draw(1, old_ranks + 1);
    int const experts = support::draw(1, old_ranks * block + 1);
    auto const before = support::random_slots(oracle::at(old_ranks * block), experts);
    auto const after = support::random_slots(oracle::at(new_ranks * block), experts);
    auto const mapping = random_mapping(old_ranks, new_ranks, staying);
    RC_ASSERT(check_scaling(ScaleMode::scale_up, block, experts, before, after, mapping) == std::string());
  }));
}

TEST_CASE("scaling down gathers the new placement into the old group") {
  CHECK(support::holds("scale down", 2000, [] {
    int const old_ranks = support::draw(1, 8);
    int const new_ranks = support::draw(1, old_ranks + 1);
    int const block = support::draw(1, 4);
    int const experts = support::draw(1, new_ranks * block + 1);
    auto const before = support::random_slots(oracle::at(old_ranks * block), experts);
    auto const after = support::random_slots(oracle::at(new_ranks * block), experts);
    auto const mapping = random_mapping(old_ranks, new_ranks, new_ranks);
    RC_ASSERT(check_scaling(ScaleMode::scale_down, block, experts, before, after, mapping) == std::string());
  }));
}
