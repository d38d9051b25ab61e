// SPDX-License-Identifier: Apache-2.0
// The searching policy "incremental" under every kind of limit, from placements that keep the request or break it.
//
// Worked example of a curve: loads 6 2 1 3 on two ranks of two slots, in use 0 1 | 2 3: ranks carry 8 and 4, mean 6.
// Without spare slots every expert has one slot, so only exchanges help. Exchanging 1 and 2 gives 7 and 5, exchanging 1
// and 3 makes it worse (9 and 3); 0 and 3 gives 5 and 7. Two moves lead to 7, which is also the optimum (6+1).
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "support/error_text.hpp"
#include "support/placement_requests.hpp"
#include "support/property.hpp"
#include "switchyard/placement/balanced.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/incremental.hpp"
#include "switchyard/placement/objective.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

using namespace switchyard;
using support::Problem;

namespace {

struct Change {
  Problem problem;
  IncrementalOptions options;
};

std::optional<std::int64_t> maybe(int low, int high) {
  return support::draw(0, 3) == 0 ? std::optional<std::int64_t>(support::draw(low, high)) : std::nullopt;
}

/// A placement made for other loads, and limits.
Change random_change(bool is_odd) {
  Change change{is_odd ? support::odd_problem() : support::plain_problem(), {}};
  auto& request = change.problem.request;
  request.max_nodes_per_group = request.max_nodes_per_expert = 0;
  auto const layout = slot_layout_of(request);
  auto const& load = change.problem.load;
  PolicyRequest before{request.num_ranks, request.num_slots, 1, 1};
  before.slot_layout = layout;
  bool const is_even = layout.uniform_slots() >= 0 && support::draw(0, 2) == 0;
  auto const old_load = support::random_load(1, load.num_layers(), load.num_experts());
  request.current = std::make_shared<ExpertPlacement const>(
      is_even ? make_policy("deepseek-global")->place(old_load, before) : balance(old_load, before).placement);
  auto& limits = change.options.limits;
  limits.max_moves = maybe(0, 30);
  limits.max_moves_per_layer = maybe(0, 12);
  limits.max_receives_per_rank = maybe(0, 4);
  limits.max_sends_per_rank = maybe(0, 4);
  limits.max_moves_per_link = maybe(0, 3);
  limits.max_bytes = maybe(0, 3000);
  change.options.costs.expert_bytes = 100;
  change.options.costs.local_bytes_per_second = 1e3;
  change.options.costs.network_bytes_per_second = 1e2;
  change.options.costs.seconds_per_figure = 1e-3;
  change.options.costs.horizon_steps = support::draw(0, 3) == 0 ? support::draw(1, 1000) : 0;
  return change;
}

template <typename Key>
void check_cap(std::map<Key, std::int64_t> const& counts, std::optional<std::int64_t> cap) {
  for (auto const& [key, count] : counts) RC_ASSERT(count <= cap.value_or(count));
}

/// Forced moves may exceed a limit, nothing else.
void check_moves(Change const& change, IncrementalResult const& result) {
  auto const& limits = change.options.limits;
  auto const& current = *change.problem.request.current;
  std::int64_t forced = 0;
  std::map<int, std::int64_t> per_layer;
  std::map<std::pair<int, int>, std::int64_t> received;
  std::map<std::pair<int, int>, std::int64_t> sent;
  std::map<std::tuple<int, int, int>, std::int64_t> links;
  for (auto const& layer : result.layers) forced += layer.forced_moves;
  for (auto const& fetch : result.fetches) {
    ++per_layer[fetch.layer];
    ++received[{fetch.layer, fetch.to.value()}];
    ++sent[{fetch.layer, fetch.from.value()}];
    ++links[{fetch.layer, fetch.from.value(), fetch.to.value()}];
    if (fetch.from.value() < 0) continue;
    auto const held = current.rank_slots(fetch.layer, fetch.from);
    RC_ASSERT(std::find(held.begin(), held.end(), fetch.expert) != held.end());
  }
  auto const speeds = serving_speeds(change.problem.request);
  for (int layer = 0; layer < current.num_layers(); ++layer) {
    RC_ASSERT(migration_bounds(current, result.placement, layer, speeds).fetches == per_layer[layer]);
  }
  if (forced > 0) return;
  RC_ASSERT(std::ssize(result.fetches) <= limits.max_moves.value_or(std::ssize(result.fetches)));
  RC_ASSERT(std::ssize(result.fetches) * 100 <= limits.max_bytes.value_or(std::ssize(result.fetches) * 100));
  check_cap(per_layer, limits.max_moves_per_layer);
  check_cap(received, limits.max_receives_per_rank);
  check_cap(sent, limits.max_sends_per_rank);
  check_cap(links, limits.max_moves_per_link);
}

/// An expert that is on a live rank before and after keeps a slot that it had.
void check_slots_stay(PolicyRequest const& request, ExpertPlacement const& after) {
  auto const live = live_ranks(request);
  for (int layer = 0; layer < after.num_layers(); ++layer) {
    for (RankId rank(0); rank.value() < after.num_ranks(); ++rank) {
      auto const old_slots = request.current->rank_slots(layer, rank);
      auto const new_slots = after.rank_slots(layer, rank);
      for (ExpertId const e : new_slots) {
        bool const was_here = std::find(old_slots.begin(), old_slots.end(), e) != old_slots.end();
        bool stays = false;
        for (std::size_t i = 0; i < new_slots.size(); ++i) stays = stays || (new_slots[i] == e && old_slots[i] == e);
        RC_ASSERT(stays || !e.valid() || !was_here || !live[rank.index()]);
      }
    }
  }
}

void check_curve(Change const& change, IncrementalResult const& result) {
  for (auto const& layer : result.layers) {
    for (std::size_t i = 1; i < layer.curve.size(); ++i) {
      RC_ASSERT(layer.curve[i].moves > layer.curve[i - 1].moves);
      RC_ASSERT(layer.curve[i].max_figure < layer.curve[i - 1].max_figure);
    }
  }
  auto const points = pareto_points(result);
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i > 0) {  // an || inside RC_ASSERT reads both sides
      RC_ASSERT(points[i].moves > points[i - 1].moves);
      RC_ASSERT(points[i].total_figure <= points[i - 1].total_figure);
    }
    auto const placement = placement_at(result, points[i]);
    RC_ASSERT(validate(placement).empty());
    check_slots_stay(change.problem.request, placement);
    auto const report = measure_objective(change.problem.load, placement, change.problem.request);
    RC_ASSERT(support::is_close(report.total_figure, points[i].total_figure));
  }
}

}  // namespace

TEST_CASE("the example of a curve") {
  PolicyRequest request{2, 4, 1, 1};
  request.current = std::make_shared<ExpertPlacement const>(
      ExpertPlacement(1, 4, SlotLayout::uniform(2, 2), {ExpertId(0), ExpertId(1), ExpertId(2), ExpertId(3)}));
  auto const result = improve_placement(support::one_layer({6, 2, 1, 3}), request);
  REQUIRE(result.layers[0].curve.size() == 2);
  CHECK(result.layers[0].curve[0].moves == 0);
  CHECK(result.layers[0].curve[0].max_figure == 8);
  CHECK(result.layers[0].curve[1].moves == 2);
  CHECK(result.layers[0].curve[1].max_figure == 7);
  CHECK(result.fetches.size() == 2);
  IncrementalOptions one_move;
  one_move.limits.max_moves = 1;
  CHECK(improve_placement(support::one_layer({6, 2, 1, 3}), request, one_move).placement == *request.current);
}

TEST_CASE("incremental respects every limit and every point of its curve is a placement") {
  for (bool const is_odd : {false, true}) {
    CHECK(support::holds(is_odd ? "incremental, odd requests" : "incremental", support::cases(150), [&] {
      Change const change = random_change(is_odd);
      auto const& request = change.problem.request;
      auto const result = improve_placement(change.problem.load, request, change.options);
      RC_ASSERT(validate(result.placement).empty());
      support::check_limits(result.placement, request);
      check_moves(change, result);
      check_slots_stay(request, result.placement);
      check_curve(change, result);
      RC_ASSERT(improve_placement(change.problem.load, request, change.options).placement == result.placement);
    }));
  }
}

TEST_CASE("the transfer plan of an incremental plan copies exactly its fetches") {
  CHECK(support::holds("fetches are copies", support::cases(200), [] {
    Change const change = random_change(false);
    auto const result = improve_placement(change.problem.load, change.problem.request, change.options);
    auto const plan = plan_rebalance(*change.problem.request.current, result.placement);
    RC_ASSERT(totals(plan).network_copies == std::ssize(result.fetches));
  }));
}

TEST_CASE("a horizon decides between moving and staying") {
  PolicyRequest request{2, 4, 1, 1};
  request.current = std::make_shared<ExpertPlacement const>(
      ExpertPlacement(1, 4, SlotLayout::uniform(2, 2), {ExpertId(0), ExpertId(1), ExpertId(2), ExpertId(3)}));
  auto const load = support::one_layer({6, 2, 1, 3});
  IncrementalOptions options;
  options.costs = {1000, 1000, 1000, 10, 0.05};  // the slowest rank receives for 1 s; gain 1 figure * 0.05 s * 10 steps
  CHECK(improve_placement(load, request, options).fetches.empty());
  options.costs.horizon_steps = 21;  // 1.05 s
  auto const moved = improve_placement(load, request, options);
  CHECK(moved.fetches.size() == 2);
  CHECK(moved.layers[0].gain_seconds == doctest::Approx(1.05));
  CHECK(moved.layers[0].curve[1].transfer_seconds == 1);
}

TEST_CASE("experts of a dead rank get a slot first and are reported for reloading") {
  PolicyRequest request{3, 9, 1, 1};
  std::vector<ExpertId> slots;
  for (int e : {0, 1, 2, 3, 4, -1, 5, 0, 1}) slots.emplace_back(e);
  request.current = std::make_shared<ExpertPlacement const>(ExpertPlacement(1, 6, SlotLayout::uniform(3, 3), slots));
  request.dead_ranks = {RankId(2)};
  IncrementalOptions options;
  options.limits.max_moves = 0;
  auto const result = improve_placement(support::one_layer({1, 1, 1, 1, 1, 1}), request, options);
  CHECK(support::layer_of(result.placement, 0) == std::vector<int>{0, 1, 2, 3, 4, 5, -1, -1, -1});
  CHECK(result.layers[0].forced_moves == 1);
  CHECK(result.fetches == std::vector<PlannedFetch>{{0, ExpertId(5), RankId(-1), RankId(1)}});
}

TEST_CASE("requests that cannot be planned say what to change") {
  auto const load = support::one_layer({1, 2, 3, 4});
  PolicyRequest request{2, 4, 1, 1};
  auto const refusal = [&](IncrementalOptions const& options) {
    return support::error_text(ErrorCode::invalid_argument, [&] { return improve_placement(load, request, options); });
  };
  CHECK(refusal({}).find("set the current placement") != std::string::npos);
  request.current = std::make_shared<ExpertPlacement const>(ExpertPlacement::trivial(1, 4, SlotLayout::uniform(2, 2)));
  IncrementalOptions options;
  options.limits.max_bytes = 10;
  CHECK(refusal(options).find("give the bytes of an expert") != std::string::npos);
  options.limits.max_bytes = -1;
  CHECK(refusal(options).find("not negative") != std::string::npos);
  options = {};
  options.goal_ratio = 0.5;
  CHECK(refusal(options).find("use 1 or more") != std::string::npos);
  request.num_slots = 6;
  CHECK(support::error_text(ErrorCode::shape_mismatch, [&] {
          return improve_placement(load, request);
        }).find("map it to the new ranks first") != std::string::npos);
  CHECK(support::error_text(ErrorCode::shape_mismatch, [&] {
          return balance(load, request);
        }).find("map it to the new ranks first") != std::string::npos);
}

TEST_CASE("a placement outside its node limits is repaired with moves that are counted") {
  // Two nodes of one rank, three slots each, groups {0 1} and {2 3}: group 0 has most slots on node 0, group 1 on node
  // 1. Expert 1 leaves node 1 (it is on node 0 too), expert 2 leaves node 0 and is fetched to node 1.
  PolicyRequest request{2, 6, 2, 2};
  request.max_nodes_per_group = 1;
  std::vector<ExpertId> slots;
  for (int e : {0, 1, 2, 3, 3, 1}) slots.emplace_back(e);
  request.current = std::make_shared<ExpertPlacement const>(ExpertPlacement(1, 4, SlotLayout::uniform(2, 3), slots));
  REQUIRE(!request_violations(*request.current, request).empty());
  IncrementalOptions options;
  options.limits.max_moves = 0;
  auto const result = improve_placement(support::one_layer({1, 1, 1, 1}), request, options);
  CHECK(request_violations(result.placement, request).empty());
  CHECK(result.layers[0].forced_moves == 1);
  CHECK(result.fetches == std::vector<PlannedFetch>{{0, ExpertId(2), RankId(0), RankId(1)}});
}

TEST_CASE("any placement in use becomes one that the request admits") {
  CHECK(support::holds("repaired", support::cases(200), [] {
    Problem problem = support::odd_problem();
    auto& request = problem.request;
    auto const layout = slot_layout_of(request);
    std::vector<ExpertId> slots;
    for (int i = 0; i < problem.load.num_layers() * layout.num_slots(); ++i)
      slots.emplace_back(support::draw(-1, problem.load.num_experts()));
    request.current = std::make_shared<ExpertPlacement const>(problem.load.num_layers(), problem.load.num_experts(),
                                                              layout, std::move(slots));
    try {
      auto const result = improve_placement(problem.load, request);
      RC_ASSERT(validate(result.placement).empty());
      RC_ASSERT(request_violations(result.placement, request).empty());
      support::check_limits(result.placement, request);
      IncrementalOptions nothing_more;
      nothing_more.limits.max_moves = 0;
      auto const least = improve_placement(problem.load, request, nothing_more);
      RC_ASSERT(request_violations(least.placement, request).empty());
      std::int64_t forced = 0;
      for (auto const& layer : least.layers) forced += layer.forced_moves;
      RC_ASSERT(std::ssize(least.fetches) <= forced);
    } catch (Error const& error) {
      RC_ASSERT(error.message().find("fits no node") != std::string_view::npos);
    }
  }));
}

TEST_CASE("where single changes get stuck a fresh plan ends the curve") {
  // Six ranks of one slot: experts 0 and 1 are equally hot and hold one slot each, the spare replicas are with 2 and 3.
  PolicyRequest request{6, 6, 1, 1};
  std::vector<ExpertId> slots;
  for (int e : {0, 1, 2, 3, 2, 3}) slots.emplace_back(e);
  request.current = std::make_shared<ExpertPlacement const>(ExpertPlacement(1, 4, SlotLayout::uniform(6, 1), slots));
  auto const load = support::one_layer({10, 10, 2, 2});
  auto const result = improve_placement(load, request);
  auto const fresh = balance(load, request);
  CHECK(result.layers[0].curve.back().max_figure <= fresh.layers[0].max_figure * 1.01);
  CHECK(result.layers[0].current_figure == 10);
  CHECK(fresh.layers[0].max_figure == 5);
}
