// SPDX-License-Identifier: Apache-2.0
// The placement problem: optional parts, what policies honour, load windows, objectives.
//
// Worked example of the objectives: loads of two steps, experts 0..2: 4 0 1 and 2 2 0. Ranks hold 0 1 | 0 2. Tokens,
// summed: 6 2 1, expert 0 split 3 and 3: ranks 5 and 4. Activated experts per step: expert 0's replicas get 2 tokens
// each, then 1 each: always active; expert 1 in one step of two, expert 2 likewise: 1.5 and 1.5. Time with base 10,
// 2 per expert, 1 per token: tokens per step 2.5 and 2: ranks 10 + 3 + 2.5 = 15.5 and 10 + 3 + 2 = 15.
#include <doctest/doctest.h>

#include <cmath>

#include "support/error_text.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/objective.hpp"
#include "switchyard/placement/policy.hpp"

using doctest::Approx;
using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::LoadStatistic;
using switchyard::LoadWindow;
using switchyard::make_policy;
using switchyard::ObjectiveKind;
using switchyard::PolicyRequest;
using switchyard::RankId;
using switchyard::RequestPart;
using switchyard::RequestParts;
using switchyard::SlotLayout;

namespace {

using Doubles = std::vector<double>;

ExpertLoad one_layer(Doubles loads) {
  auto const experts = static_cast<int>(loads.size());
  return ExpertLoad(1, 1, experts, std::move(loads));
}

ExpertPlacement worked_placement() {
  return ExpertPlacement(1, 3, SlotLayout::uniform(2, 2), {ExpertId(0), ExpertId(1), ExpertId(0), ExpertId(2)});
}

ExpertLoad worked_load() {
  return ExpertLoad(2, 1, 3, {4, 0, 1, 2, 2, 0});
}

Doubles reduced(Doubles steps, LoadWindow const& window) {
  auto const num_steps = static_cast<int>(steps.size());
  ExpertLoad const load = reduce_window(ExpertLoad(num_steps, 1, 1, std::move(steps)), window);
  return {load.values().begin(), load.values().end()};
}

template <typename Change>
std::string refused(Change const& change) {
  PolicyRequest request{4, 8, 2, 2};
  change(request);
  return support::error_text(ErrorCode::invalid_argument, [&] {
    validate(request, 2, 6);
    return 0;
  });
}

}  // namespace

TEST_CASE("what differs from its default is asked for") {
  PolicyRequest request{4, 8, 2, 2};
  CHECK(requested_parts(request) == RequestParts{});
  request.slot_layout = SlotLayout::uniform(4, 2);
  request.rank_speeds = {2, 2, 2, 2};
  CHECK(requested_parts(request) == RequestParts{});
  request.slot_layout = SlotLayout({3, 2, 2, 1});
  request.rank_speeds = {1, 2, 2, 2};
  request.dead_ranks = {RankId(1)};
  request.layer_slots = {6};
  CHECK(requested_parts(request) == RequestParts{RequestPart::slot_layout, RequestPart::rank_speeds,
                                                 RequestPart::dead_ranks, RequestPart::layer_slots});
  request = {4, 8, 2, 2};
  request.max_nodes_per_group = 1;
  request.max_nodes_per_expert = 1;
  request.current = std::make_shared<ExpertPlacement const>();
  request.objective.kind = ObjectiveKind::time;
  request.window.statistic = LoadStatistic::mean;
  CHECK(requested_parts(request) == RequestParts{RequestPart::max_nodes_per_group, RequestPart::max_nodes_per_expert,
                                                 RequestPart::current, RequestPart::objective, RequestPart::window});
}

TEST_CASE("derived sizes: layout, live ranks, speeds, nodes, slots to fill") {
  PolicyRequest request{5, 12, 2, 1};
  CHECK(slot_layout_of(request) == SlotLayout({3, 3, 2, 2, 2}));
  std::vector<int> nodes;
  for (RankId rank(0); rank.value() < 5; ++rank) nodes.push_back(node_of(request, rank).value());
  CHECK(nodes == std::vector<int>{0, 0, 0, 1, 1});
  request.dead_ranks = {RankId(0), RankId(3)};
  CHECK(live_ranks(request) == std::vector<bool>{false, true, true, false, true});
  CHECK(slots_to_fill(request, 0) == 7);
  CHECK(speeds_of(request) == Doubles(5, 1.0));
  request.layer_slots = {6, 5};
  CHECK(slots_to_fill(request, 1) == 5);
}

TEST_CASE("inconsistent parts are refused, saying what to change") {
  CHECK(support::contains(refused([](auto& r) { r.slot_layout = SlotLayout::uniform(4, 3); }),
                          "the slot layout has 4 ranks and 12 slots, the request 4 and 8"));
  CHECK(support::contains(refused([](auto& r) { r.rank_speeds = {1, 1}; }), "2 speeds for 4 ranks"));
  CHECK(support::contains(refused([](auto& r) { r.rank_speeds = {1, 1, 0, 1}; }), "speed 0 of rank 2"));
  CHECK(support::contains(refused([](auto& r) { r.dead_ranks = {RankId(4)}; }), "dead rank 4 is outside [0, 4)"));
  CHECK(support::contains(refused([](auto& r) { r.dead_ranks = {RankId(2), RankId(1)}; }), "dead rank 1 follows 2"));
  CHECK(support::contains(refused([](auto& r) {
                            r.dead_ranks = {RankId(0), RankId(1), RankId(2), RankId(3)};
                          }),
                          "all 4 ranks are dead"));
  CHECK(support::contains(refused([](auto& r) {
                            r.dead_ranks = {RankId(0), RankId(1)};
                          }),
                          "the 2 live ranks have 4 slots, which cannot hold 6 experts"));
  CHECK(support::contains(refused([](auto& r) { r.layer_slots = {8}; }), "1 slot budgets for 2 layers"));
  CHECK(support::contains(refused([](auto& r) { r.layer_slots = {8, 5}; }), "layer 1 may fill 5 slots"));
  CHECK(support::contains(refused([](auto& r) { r.layer_slots = {9, 8}; }), "layer 0 may fill 9 slots"));
  CHECK(support::contains(refused([](auto& r) { r.max_nodes_per_group = -1; }), "at most -1 nodes per group"));
  CHECK(support::contains(refused([](auto& r) { r.objective.per_token = -1; }), "must be finite and not negative"));
  PolicyRequest request{4, 8, 2, 2};
  request.current = std::make_shared<ExpertPlacement const>(ExpertPlacement::contiguous(1, 6, 4));
  CHECK(support::contains(support::error_text(ErrorCode::shape_mismatch,
                                              [&] {
                                                validate(request, 2, 6);
                                                return 0;
                                              }),
                          "the current placement has 1 layers x 6 experts, the load 2 x 6"));
}

TEST_CASE("every policy refuses by name each part it does not honour") {
  auto const load = one_layer({5, 4, 3, 2, 1, 1});
  auto const text_of = [&](std::string const& name, PolicyRequest const& request) {
    return support::error_text(ErrorCode::invalid_argument, [&] { return make_policy(name)->place(load, request); });
  };
  for (auto const& name : switchyard::policy_names()) {
    for (int i = 0; i < switchyard::kNumRequestParts; ++i) {
      auto const part = static_cast<RequestPart>(i);
      PolicyRequest request{2, 8, 1, 1};
      if (part == RequestPart::slot_layout) request.slot_layout = SlotLayout({5, 3});
      if (part == RequestPart::rank_speeds) request.rank_speeds = {1, 2};
      if (part == RequestPart::dead_ranks) request = {3, 12, 1, 1}, request.dead_ranks = {RankId(1)};
      if (part == RequestPart::layer_slots) request.layer_slots = {7};
      if (part == RequestPart::max_nodes_per_group) request.max_nodes_per_group = 1;
      if (part == RequestPart::max_nodes_per_expert) request.max_nodes_per_expert = 1;
      if (part == RequestPart::objective) request.objective.kind = ObjectiveKind::activated_experts;
      if (part == RequestPart::window) request.window.statistic = LoadStatistic::mean;
      if (part == RequestPart::current)
        request.current =
            std::make_shared<ExpertPlacement const>(ExpertPlacement::trivial(1, 6, SlotLayout::uniform(2, 4)));
      CAPTURE(name);
      CAPTURE(to_string(part));
      REQUIRE(requested_parts(request).has(part));
      if (!make_policy(name)->honours(request).has(part)) {
        CHECK(support::contains(text_of(name, request), std::string("does not take ") + std::string(to_string(part))));
      }
    }
  }
}

TEST_CASE("a current placement changes vLLM's slots and not its ranks") {
  auto const load = one_layer({5, 4, 3, 2});
  PolicyRequest request{2, 4, 1, 1};
  auto const fresh = make_policy("vllm")->place(load, request);
  CHECK(fresh.slot_to_expert()[0] == ExpertId(0));  // 5 and 2 on rank 0
  request.current = std::make_shared<ExpertPlacement const>(
      1, 4, SlotLayout::uniform(2, 2), std::vector{ExpertId(3), ExpertId(1), ExpertId(2), ExpertId(0)});
  auto const kept = make_policy("vllm")->place(load, request);
  CHECK(std::vector(kept.slot_to_expert().begin(), kept.slot_to_expert().end()) ==
        std::vector{ExpertId(3), ExpertId(0), ExpertId(2), ExpertId(1)});
}

TEST_CASE("Swift needs a current placement that is full and complete") {
  auto const load = one_layer({9, 1, 1, 1});
  PolicyRequest request{2, 4, 1, 1};
  auto const place = [&] { return make_policy("swift")->place(load, request); };
  CHECK(support::contains(support::error_text(ErrorCode::invalid_argument, place), "the request has none"));
  auto const with = [&](std::vector<int> const& ids) {
    std::vector<ExpertId> slots;
    for (int const id : ids) slots.emplace_back(id);
    request.current = std::make_shared<ExpertPlacement const>(1, 4, SlotLayout::uniform(2, 2), slots);
  };
  with({0, 1, 2, 2});
  CHECK(support::contains(support::error_text(ErrorCode::invalid_placement, place), "needs a complete current"));
  PolicyRequest const wide{2, 10, 1, 1};
  request = wide;
  request.current = std::make_shared<ExpertPlacement const>(ExpertPlacement::trivial(1, 4, SlotLayout::uniform(2, 5)));
  CHECK(support::contains(support::error_text(ErrorCode::invalid_argument, place), "5 slots per rank for 4 experts"));
}

TEST_CASE("windows: sum, mean, deviations, nearest-rank percentile") {
  Doubles const steps = {2, 4, 4, 4, 5, 5, 7, 9};  // mean 5, standard deviation 2
  CHECK(reduced(steps, {}) == Doubles{40});
  CHECK(reduced(steps, {LoadStatistic::mean}) == Doubles{5});
  CHECK(reduced(steps, {LoadStatistic::mean_deviations, 1.5}) == Doubles{8});
  CHECK(reduced(steps, {LoadStatistic::mean_deviations, 0}) == Doubles{5});
  CHECK(reduced(steps, {LoadStatistic::percentile, 0, 100}) == Doubles{9});
  CHECK(reduced(steps, {LoadStatistic::percentile, 0, 87.5}) == Doubles{7});
  CHECK(reduced(steps, {LoadStatistic::percentile, 0, 50}) == Doubles{4});
  CHECK(reduced(steps, {LoadStatistic::percentile, 0, 1e-9}) == Doubles{2});
  CHECK(reduced({3}, {LoadStatistic::percentile, 0, 20}) == Doubles{3});
  auto const text = [](LoadWindow const& window) {
    return support::error_text(ErrorCode::invalid_argument, [&] { return reduced({1}, window); });
  };
  CHECK(support::contains(text({LoadStatistic::mean_deviations, -1}), "-1 deviations"));
  CHECK(support::contains(text({LoadStatistic::percentile, 0, 0}), "percentile 0"));
  CHECK(support::contains(text({LoadStatistic::percentile, 0, 101}), "percentile 101"));
  CHECK(support::contains(text({LoadStatistic::percentile, 0, std::nan("")}), "percentile"));
}

TEST_CASE("a policy plans for the window it is given") {
  // Expert 0 has the larger sum, expert 2 the larger peak: the spare slot follows the statistic.
  ExpertLoad const load(2, 1, 3, {10, 1, 0, 10, 1, 19});
  PolicyRequest request{2, 4, 1, 1};
  auto const replicas_of = [&](int expert) {
    auto const placement = make_policy("deepseek")->place(load, request);
    return switchyard::ReplicaTable(placement, 0).replicas(ExpertId(expert)).size();
  };
  CHECK(replicas_of(0) == 2);
  request.window = {LoadStatistic::percentile, 0, 100};
  CHECK(replicas_of(2) == 2);
}

TEST_CASE("figures of the worked example") {
  PolicyRequest request{2, 4, 1, 1};
  auto const figures = [&] { return measure_objective(worked_load(), worked_placement(), request).layers.at(0); };
  CHECK(figures().rank_figures == Doubles{5, 4});
  CHECK(figures().max_figure == 5);
  CHECK(figures().worst_rank == RankId(0));
  CHECK(figures().even_figure == 4.5);
  CHECK(figures().ratio == Approx(5 / 4.5));
  request.objective.kind = ObjectiveKind::activated_experts;
  CHECK(figures().rank_figures == Doubles{1.5, 1.5});
  CHECK(figures().ratio == 1);
  request.objective = {ObjectiveKind::time, 10, 2, 1};
  CHECK(figures().rank_figures == Doubles{15.5, 15});
  request.objective = {};
  request.rank_speeds = {1, 2};
  CHECK(figures().rank_figures == Doubles{5, 2});
  CHECK(figures().even_figure == 3);
  request.rank_speeds = {};
  request.window.statistic = LoadStatistic::mean;
  CHECK(figures().rank_figures == Doubles{2.5, 2});
}

TEST_CASE("a replica on a dead rank carries nothing, and the others take over") {
  PolicyRequest request{3, 6, 1, 1};
  request.dead_ranks = {RankId(1)};
  ExpertPlacement const placement(1, 3, SlotLayout::uniform(3, 2),
                                  {ExpertId(0), ExpertId(1), ExpertId(0), ExpertId(1), ExpertId(0), ExpertId(2)});
  auto const layer = measure_objective(one_layer({6, 2, 1}), placement, request).layers.at(0);
  CHECK(layer.rank_figures == Doubles{5, 0, 4});
  CHECK(layer.even_figure == 4.5);
  request.dead_ranks = {RankId(2)};
  CHECK(support::contains(
      support::error_text(ErrorCode::invalid_placement,
                          [&] {
                            return measure_objective(one_layer({6, 2, 1}), placement, request).max_ratio;
                          }),
      "expert 2 of layer 0 has load 1 but no slot on a live rank"));
}

TEST_CASE("for tokens on equal ranks the ratio is PAR") {
  ExpertLoad const load(2, 2, 4, {6, 2, 1, 3, 9, 0, 0, 1, 4, 4, 4, 4, 0, 0, 0, 0});
  auto const placement = ExpertPlacement::contiguous(2, 4, 2);
  auto const report = measure_objective(load, placement, {2, 4, 1, 1});
  auto const figures = measure_imbalance(load, placement);
  for (std::size_t layer = 0; layer < 2; ++layer) CHECK(report.layers[layer].ratio == figures.layers[layer].par);
  CHECK(report.mean_ratio == figures.mean_par);
  CHECK(report.max_ratio == figures.max_par);
  auto const empty = measure_objective(one_layer({0, 0}), ExpertPlacement::contiguous(1, 2, 2), {2, 2, 1, 1});
  CHECK(empty.max_ratio == 1);
}

TEST_CASE("an objective other than tokens is measured in every step, so it refuses a window") {
  PolicyRequest request{2, 4, 1, 1};
  request.objective.kind = ObjectiveKind::activated_experts;
  request.window.statistic = LoadStatistic::mean;
  CHECK(support::contains(
      support::error_text(ErrorCode::invalid_argument,
                          [&] { return measure_objective(worked_load(), worked_placement(), request).max_ratio; }),
      "objective activated_experts is evaluated in every step"));
}
