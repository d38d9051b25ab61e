// SPDX-License-Identifier: Apache-2.0
// The searching policies "balanced" and "incremental" under every kind of limit.
//
// Worked example of a curve: loads 6 2 1 3 on two ranks of two slots, in use 0 1 | 2 3: ranks carry 8 and 4, mean 6.
// Without spare slots every expert has one slot, so only exchanges help. Exchanging 1 and 2 gives 7 and 5, exchanging 1
// and 3 makes it worse (9 and 3); 0 and 3 gives 5 and 7. Two moves lead to 7, which is also the optimum (6+1).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "support/error_text.hpp"
#include "support/property.hpp"
#include "switchyard/placement/balanced.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/incremental.hpp"
#include "switchyard/placement/objective.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

using namespace switchyard;

namespace {

struct Problem {
  ExpertLoad load;
  PolicyRequest request;
};

std::vector<double> random_loads(int count) {
  std::vector<double> loads;
  int const kind = support::draw(0, 3);
  for (int i = 0; i < count; ++i) {
    double const even = support::draw(0, 1000);
    loads.push_back(kind == 0 ? even : kind == 1 ? std::floor(even * even / 100) : support::draw(0, 3));
  }
  return loads;
}

ExpertLoad random_load(int steps, int layers, int experts) {
  return ExpertLoad(steps, layers, experts, random_loads(steps * layers * experts));
}

/// Equal slots, no optional part.
Problem plain_problem() {
  int const nodes = support::draw(1, 4);
  int const ranks = nodes * support::draw(1, 4);
  int const groups = nodes * support::draw(1, 3);
  int const experts = groups * support::draw(1, 6);
  int const per_rank = (experts + ranks - 1) / ranks + support::draw(0, 3);
  PolicyRequest request{ranks, ranks * per_rank, nodes, groups};
  return {random_load(1, support::draw(1, 3), experts), request};
}

void add_unequal_slots(PolicyRequest& request, int experts) {
  std::vector<std::int32_t> slots;
  for (int r = 0; r < request.num_ranks; ++r) slots.push_back(support::draw(0, 6));
  slots[support::draw<std::size_t>(0, slots.size())] += experts;
  request.slot_layout = SlotLayout(slots);
  request.num_slots = request.slot_layout->num_slots();
}

int live_slots(PolicyRequest const& request) {
  auto const live = live_ranks(request);
  auto const layout = slot_layout_of(request);
  int sum = 0;
  for (RankId r(0); r.value() < request.num_ranks; ++r) sum += live[r.index()] ? layout.slots_of(r) : 0;
  return sum;
}

void add_dead_rank(PolicyRequest& request, int experts) {
  request.dead_ranks = {RankId(support::draw(0, request.num_ranks))};
  if (request.num_ranks == 1 || live_slots(request) < experts) request.dead_ranks.clear();
}

void add_objective(Problem& problem) {
  auto& request = problem.request;
  if (support::draw(0, 2) == 0) {
    request.window.statistic = support::draw(0, 2) == 0 ? LoadStatistic::mean_deviations : LoadStatistic::percentile;
    request.window.deviations = 1;
    request.window.percentile = 75;
    return;
  }
  request.objective.kind = support::draw(0, 2) == 0 ? ObjectiveKind::activated_experts : ObjectiveKind::time;
  request.objective.base = 30;
  request.objective.per_expert = 10;
  request.objective.per_token = 0.5;
}

/// Any mixture of optional parts.
Problem odd_problem() {
  Problem problem = plain_problem();
  auto& request = problem.request;
  int const experts = problem.load.num_experts();
  int const layers = problem.load.num_layers();
  problem.load = random_load(support::draw(1, 4), layers, experts);
  if (support::draw(0, 2) == 0) add_unequal_slots(request, experts);
  if (support::draw(0, 2) == 0) {
    for (int r = 0; r < request.num_ranks; ++r) request.rank_speeds.push_back(0.5 * support::draw(1, 5));
  }
  if (support::draw(0, 2) == 0) add_dead_rank(request, experts);
  if (support::draw(0, 3) == 0) {
    for (int l = 0; l < layers; ++l) request.layer_slots.push_back(support::draw(experts, live_slots(request) + 1));
  }
  if (support::draw(0, 3) == 0) request.max_nodes_per_group = support::draw(1, 3);
  if (support::draw(0, 3) == 0) request.max_nodes_per_expert = support::draw(1, 3);
  if (support::draw(0, 3) == 0) add_objective(problem);
  return problem;
}

std::set<int> nodes_of(ExpertPlacement const& placement, PolicyRequest const& request, int layer, int first, int last) {
  std::set<int> nodes;
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    for (ExpertId const e : placement.rank_slots(layer, rank)) {
      if (e.value() >= first && e.value() < last) nodes.insert(node_of(request, rank).value());
    }
  }
  return nodes;
}

void check_node_limits(ExpertPlacement const& placement, PolicyRequest const& request, int layer) {
  int const experts = placement.num_experts();
  for (int e = 0; request.max_nodes_per_expert > 0 && e < experts; ++e) {
    RC_ASSERT(static_cast<int>(nodes_of(placement, request, layer, e, e + 1).size()) <= request.max_nodes_per_expert);
  }
  int const size = experts / request.num_groups;
  for (int g = 0; request.max_nodes_per_group > 0 && g < request.num_groups; ++g) {
    auto const nodes = nodes_of(placement, request, layer, g * size, (g + 1) * size);
    RC_ASSERT(static_cast<int>(nodes.size()) <= request.max_nodes_per_group);
  }
}

void check_limits(ExpertPlacement const& placement, PolicyRequest const& request) {
  RC_ASSERT(placement.layout() == slot_layout_of(request));
  auto const live = live_ranks(request);
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    int filled = 0;
    for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
      for (ExpertId const e : placement.rank_slots(layer, rank)) {
        RC_ASSERT(live[rank.index()] || !e.valid());
        filled += e.valid() ? 1 : 0;
      }
    }
    RC_ASSERT(filled <= slots_to_fill(request, layer));
    check_node_limits(placement, request, layer);
  }
}

/// Ten times as many with SWITCHYARD_EXHAUSTIVE=1.
int cases(int usual) {
  return std::getenv("SWITCHYARD_EXHAUSTIVE") != nullptr ? 10 * usual : usual;
}

bool is_close(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::max({1.0, std::abs(a), std::abs(b)});
}

/// Plans, or finds out that the groups fit no node.
bool plan_fits(Problem const& problem, BalancedResult& result) {
  try {
    result = balance(problem.load, problem.request);
    return true;
  } catch (Error const& error) {
    RC_ASSERT(error.code() == ErrorCode::invalid_argument);
    RC_ASSERT(error.message().find("fits no node") != std::string_view::npos);
    return false;
  }
}

ExpertLoad one_layer(std::vector<double> loads) {
  auto const experts = static_cast<int>(loads.size());
  return ExpertLoad(1, 1, experts, std::move(loads));
}

std::vector<int> layer_of(ExpertPlacement const& placement, int layer) {
  std::vector<int> slots;
  for (ExpertId const e : placement.layer(layer)) slots.push_back(e.value());
  return slots;
}

}  // namespace

TEST_CASE("balanced honours every part of a request") {
  CHECK(support::holds("balanced", cases(300), [] {
    Problem const problem = odd_problem();
    BalancedResult result{ExpertPlacement(), {}};
    if (!plan_fits(problem, result)) return;
    RC_ASSERT(validate(result.placement, true).empty());
    check_limits(result.placement, problem.request);
    auto const report = measure_objective(problem.load, result.placement, problem.request);
    for (std::size_t layer = 0; layer < result.layers.size(); ++layer) {
      RC_ASSERT(is_close(report.layers[layer].max_figure, result.layers[layer].max_figure));
    }
    RC_ASSERT(balance(problem.load, problem.request).placement == result.placement);
    RC_ASSERT(make_policy("balanced")->place(problem.load, problem.request) == result.placement);
  }));
}

TEST_CASE("balanced is never above DeepSeek unless duplicates alone win") {
  int with_duplicates = 0;
  CHECK(support::holds("never above", cases(300), [&] {
    Problem const problem = plain_problem();
    auto const result = balance(problem.load, problem.request);
    auto const ours = measure_imbalance(problem.load, result.placement);
    for (std::string const name : {"deepseek", "deepseek-global"}) {
      auto const theirs = make_policy(name)->place(problem.load, problem.request);
      auto const figures = measure_imbalance(problem.load, theirs);
      for (int layer = 0; layer < problem.load.num_layers(); ++layer) {
        auto const index = static_cast<std::size_t>(layer);
        auto const duplicates = validate(theirs, true);
        bool const repeats = std::any_of(duplicates.begin(), duplicates.end(),
                                         [&](PlacementViolation const& found) { return found.layer == layer; });
        bool const is_above = ours.layers[index].par > figures.layers[index].par * (1 + 1e-12);
        with_duplicates += is_above ? 1 : 0;
        RC_ASSERT(!is_above || repeats);
        RC_ASSERT(!is_above || result.layers[index].duplicates_alone_win);
      }
    }
  }));
  MESSAGE("DeepSeek ahead by duplicates alone in ", with_duplicates, " layers");
}

TEST_CASE("with a node limit per group balanced is never above DeepSeek's hierarchical plan") {
  CHECK(support::holds("hierarchical", cases(300), [] {
    Problem problem = plain_problem();
    problem.request.max_nodes_per_group = 1;
    BalancedResult result{ExpertPlacement(), {}};
    if (!plan_fits(problem, result)) return;
    auto const theirs = make_policy("deepseek-hierarchical")->place(problem.load, problem.request);
    if (!validate(theirs, true).empty()) return;
    auto const ours = measure_imbalance(problem.load, result.placement);
    auto const figures = measure_imbalance(problem.load, theirs);
    for (std::size_t layer = 0; layer < figures.layers.size(); ++layer) {
      RC_ASSERT(ours.layers[layer].par <= figures.layers[layer].par * (1 + 1e-12));
    }
  }));
}

TEST_CASE("balanced with a current placement renames ranks and loses nothing") {
  CHECK(support::holds("renamed", cases(200), [] {
    Problem problem = plain_problem();
    auto const fresh = balance(problem.load, problem.request).placement;
    problem.request.current = std::make_shared<ExpertPlacement const>(
        ExpertPlacement::round_robin(fresh.num_layers(), fresh.num_experts(), fresh.layout()));
    auto const renamed = balance(problem.load, problem.request).placement;
    RC_ASSERT(
        is_close(measure_imbalance(problem.load, fresh).mean_par, measure_imbalance(problem.load, renamed).mean_par));
    for (int layer = 0; layer < fresh.num_layers(); ++layer) {
      auto const bounds = migration_bounds(*problem.request.current, fresh, layer);
      RC_ASSERT(migration_bounds(*problem.request.current, renamed, layer).fetches == bounds.fewest_fetches);
    }
  }));
}

TEST_CASE("the objective decides: activated experts are not multiplied by replicas") {
  // Four experts with plenty of tokens: a second replica only adds weights to read, so the spare slots stay empty.
  PolicyRequest request{2, 8, 1, 1};
  request.objective.kind = ObjectiveKind::activated_experts;
  auto const result = balance(one_layer({100, 1, 50, 9}), request);
  CHECK(result.layers[0].max_figure == 2);
  auto const slots = layer_of(result.placement, 0);
  CHECK(std::count(slots.begin(), slots.end(), -1) == 4);
}

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
  Change change{is_odd ? odd_problem() : plain_problem(), {}};
  auto& request = change.problem.request;
  request.max_nodes_per_group = request.max_nodes_per_expert = 0;
  auto const layout = slot_layout_of(request);
  auto const& load = change.problem.load;
  PolicyRequest before{request.num_ranks, request.num_slots, 1, 1};
  before.slot_layout = layout;
  bool const is_even = layout.uniform_slots() >= 0 && support::draw(0, 2) == 0;
  auto const old_load = random_load(1, load.num_layers(), load.num_experts());
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
    RC_ASSERT(i == 0 || points[i].moves > points[i - 1].moves);
    RC_ASSERT(i == 0 || points[i].total_figure <= points[i - 1].total_figure);
    auto const placement = placement_at(result, points[i]);
    RC_ASSERT(validate(placement).empty());
    check_slots_stay(change.problem.request, placement);
    auto const report = measure_objective(change.problem.load, placement, change.problem.request);
    RC_ASSERT(is_close(report.total_figure, points[i].total_figure));
  }
}

}  // namespace

TEST_CASE("the example of a curve") {
  PolicyRequest request{2, 4, 1, 1};
  request.current = std::make_shared<ExpertPlacement const>(
      ExpertPlacement(1, 4, SlotLayout::uniform(2, 2), {ExpertId(0), ExpertId(1), ExpertId(2), ExpertId(3)}));
  auto const result = improve_placement(one_layer({6, 2, 1, 3}), request);
  REQUIRE(result.layers[0].curve.size() == 2);
  CHECK(result.layers[0].curve[0].moves == 0);
  CHECK(result.layers[0].curve[0].max_figure == 8);
  CHECK(result.layers[0].curve[1].moves == 2);
  CHECK(result.layers[0].curve[1].max_figure == 7);
  CHECK(result.fetches.size() == 2);
  IncrementalOptions one_move;
  one_move.limits.max_moves = 1;
  CHECK(improve_placement(one_layer({6, 2, 1, 3}), request, one_move).placement == *request.current);
}

TEST_CASE("incremental respects every limit and every point of its curve is a placement") {
  for (bool const is_odd : {false, true}) {
    CHECK(support::holds(is_odd ? "incremental, odd requests" : "incremental", cases(150), [&] {
      Change const change = random_change(is_odd);
      auto const& request = change.problem.request;
      auto const result = improve_placement(change.problem.load, request, change.options);
      RC_ASSERT(validate(result.placement).empty());
      check_limits(result.placement, request);
      check_moves(change, result);
      check_slots_stay(request, result.placement);
      check_curve(change, result);
      RC_ASSERT(improve_placement(change.problem.load, request, change.options).placement == result.placement);
    }));
  }
}

TEST_CASE("the transfer plan of an incremental plan copies exactly its fetches") {
  CHECK(support::holds("fetches are copies", cases(200), [] {
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
  auto const load = one_layer({6, 2, 1, 3});
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
  auto const result = improve_placement(one_layer({1, 1, 1, 1, 1, 1}), request, options);
  CHECK(layer_of(result.placement, 0) == std::vector<int>{0, 1, 2, 3, 4, 5, -1, -1, -1});
  CHECK(result.layers[0].forced_moves == 1);
  CHECK(result.fetches == std::vector<PlannedFetch>{{0, ExpertId(5), RankId(-1), RankId(1)}});
}

TEST_CASE("requests that cannot be planned say what to change") {
  auto const load = one_layer({1, 2, 3, 4});
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
