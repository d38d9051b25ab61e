// SPDX-License-Identifier: Apache-2.0
// The searching policy "balanced" under every kind of request, beside DeepSeek's plans.
//
// Worked example: loads 6 2 1 3 on two ranks of two slots, mean 6. The pairs are 6+2|1+3, 6+1|2+3 and 6+3|2+1: the best
// has 7 on its hotter rank, which is what the policy must find.
//
// Worked example of a rank without slots: a rank's step takes 30 + 10 * activated experts + 0.5 * tokens, over its
// speed. Rank 0 has no slot and speed 0.5, so it takes 30/0.5 = 60 whatever is placed. Ranks 1 and 2 have speed 2: with
// loads 3 1 in one slot each they take (30+10+1.5)/2 = 20.75 and 20.25, with both experts on rank 1 (30+20+2)/2 = 26.
// The layer's figure is 60 in any case: nothing can be gained.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "support/error_text.hpp"
#include "support/placement_requests.hpp"
#include "support/property.hpp"
#include "switchyard/placement/balanced.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/incremental.hpp"
#include "switchyard/placement/objective.hpp"
#include "switchyard/placement/policy.hpp"

using namespace switchyard;
using support::Problem;

namespace {

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

}  // namespace

TEST_CASE("the example of four experts on two ranks") {
  CHECK(balance(support::one_layer({6, 2, 1, 3}), {2, 4, 1, 1}).layers[0].max_figure == 7);
}

TEST_CASE("the example of a rank without slots that takes longest") {
  auto const load = support::one_layer({3, 1});
  PolicyRequest request{3, 4, 1, 1};
  request.slot_layout = SlotLayout({0, 2, 2});
  request.rank_speeds = {0.5, 2, 2};
  request.objective = {ObjectiveKind::time, 30, 10, 0.5};
  auto const fresh = balance(load, request);
  CHECK(fresh.layers[0].max_figure == 60);
  CHECK(measure_objective(load, fresh.placement, request).layers[0].max_figure == 60);
  request.current = std::make_shared<ExpertPlacement const>(
      ExpertPlacement(1, 2, *request.slot_layout, {ExpertId(0), ExpertId(1), kNoExpert, kNoExpert}));
  CHECK(measure_objective(load, *request.current, request).layers[0].rank_figures == std::vector<double>{60, 26, 15});
  auto const kept = improve_placement(load, request);
  CHECK(kept.layers[0].current_figure == 60);
  CHECK(kept.layers[0].curve.size() == 1);
  CHECK(kept.placement == *request.current);
  // A dead rank takes no time: then moving expert 1 pays.
  request.dead_ranks = {RankId(0)};
  auto const moved = improve_placement(load, request);
  CHECK(moved.layers[0].current_figure == 26);
  CHECK(moved.layers[0].curve.back().max_figure == 20.75);
}

TEST_CASE("balanced honours every part of a request") {
  CHECK(support::holds("balanced", support::cases(300), [] {
    Problem const problem = support::odd_problem();
    BalancedResult result{ExpertPlacement(), {}};
    if (!plan_fits(problem, result)) return;
    RC_ASSERT(validate(result.placement, true).empty());
    support::check_limits(result.placement, problem.request);
    auto const report = measure_objective(problem.load, result.placement, problem.request);
    for (std::size_t layer = 0; layer < result.layers.size(); ++layer) {
      RC_ASSERT(support::is_close(report.layers[layer].max_figure, result.layers[layer].max_figure));
    }
    RC_ASSERT(balance(problem.load, problem.request).placement == result.placement);
    RC_ASSERT(make_policy("balanced")->place(problem.load, problem.request) == result.placement);
  }));
}

TEST_CASE("balanced is never above DeepSeek unless duplicates alone win") {
  int with_duplicates = 0;
  CHECK(support::holds("never above", support::cases(300), [&] {
    Problem const problem = support::plain_problem();
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
  CHECK(support::holds("hierarchical", support::cases(300), [] {
    Problem problem = support::plain_problem();
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
  CHECK(support::holds("renamed", support::cases(200), [] {
    Problem problem = support::plain_problem();
    auto const fresh = balance(problem.load, problem.request).placement;
    problem.request.current = std::make_shared<ExpertPlacement const>(
        ExpertPlacement::round_robin(fresh.num_layers(), fresh.num_experts(), fresh.layout()));
    auto const renamed = balance(problem.load, problem.request).placement;
    RC_ASSERT(support::is_close(measure_imbalance(problem.load, fresh).mean_par,
                                measure_imbalance(problem.load, renamed).mean_par));
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
  auto const result = balance(support::one_layer({100, 1, 50, 9}), request);
  CHECK(result.layers[0].max_figure == 2);
  auto const slots = support::layer_of(result.placement, 0);
  CHECK(std::count(slots.begin(), slots.end(), -1) == 4);
}
