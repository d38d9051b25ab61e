// SPDX-License-Identifier: Apache-2.0
// Small fused steps on emulated GPUs: the plan of one block against core's, and what dispatch and combine move by a row
// per block, for any number of resident blocks.
//
// By hand, 2 ranks with 2 experts each, 3 tokens of rank 0 with top-2: ids {0,2, 2,3, -1,1}. Rank 0 sends tokens 0 and
// 1 to rank 1 and keeps 0 and 2: two rows to produce in a dispatch. With one resident block its first block takes all
// of them before it waits for a row of rank 1.
#include "support/emulated_step.hpp"
// The emulation comes first.
#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "cross_backend/cuda_planner_cases.hpp"
#include "support/emulated_checks.hpp"

namespace {

using cross_backend::PlannerCase;
using support::EmulatedGpus;
using support::EmulatedGrid;
using support::EmulatedRank;
using support::Ranks;
using namespace switchyard;  // NOLINT: tests read like the library

struct EmulatedCase {
  int ranks;
  int experts;
  int columns;
  std::vector<std::int64_t> tokens;
  int replicas = 0;
  double dropped = 0.1;
  bool one_expert = false;
};

PlannerCase planner_case(EmulatedCase const& given, std::uint64_t seed) {
  auto run = cross_backend::make_case(DispatchFamily::megatron_flex, {1, given.ranks}, given.experts, given.columns,
                                      given.tokens);
  run.replicas = given.replicas;
  run.dropped = given.dropped;
  run.one_expert = given.one_expert;
  run.seed = seed;
  return run;
}

class EmulatedSteps {
 public:
  EmulatedSteps(EmulatedCase const& given, int words, std::size_t resident, std::uint32_t seed)
      : given_(given), resident_(resident), seed_(seed), gpus_(seed) {
    auto const run = planner_case(given, seed);
    auto const placement = cross_backend::placement_of(run);
    for (int rank = 0; rank < given.ranks; ++rank)
      ranks_.push_back(
          std::make_unique<EmulatedRank>(support::EmulatedShape{given.ranks, given.experts, placement.num_slots(),
                                                                given.columns, words, run.config.max_tokens},
                                         rank, cross_backend::draw_routing(run, rank), placement));
    for (auto& rank : ranks_) rank->connect(ranks_);
  }

  /// @param dispatches 0: plans only. Odd and even numbers of operations change which half of the windows a step uses
  void step(int number, int dispatches, unsigned workers) {
    CAPTURE(number);
    auto const plans = draw_step(number);
    plan();
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) compare_plan(plans[rank], *ranks_[rank]);
    if (dispatches == 0) return;
    for (int i = 0; i < dispatches; ++i) dispatch(workers);
    compare_rows(plans, ranks_);
    combine(workers);
    compare_sums(ranks_);
  }

  /// A dispatch and its combine, which a rank begins when its own dispatch has ended: peers may still take rows out of
  /// their windows while its partials come.
  void chained_step(int number, unsigned workers) {
    CAPTURE(number);
    auto const plans = draw_step(number);
    plan();
    std::vector<cuda::FusedDispatchParams> there;
    std::vector<cuda::FusedCombineParams> back;
    for (auto& rank : ranks_) {
      there.push_back(rank->dispatch_params());
      back.push_back(rank->combine_params());
    }
    FewShares shares_there;
    FewShares shares_back;
    gpus_.slow_down(static_cast<std::size_t>(number) % ranks_.size());
    REQUIRE(gpus_.run({few_launch<cuda::FewDispatch>(there, workers, shares_there),
                       few_launch<cuda::FewCombine<float>>(back, workers, shares_back)},
                      resident_));
    compare_rows(plans, ranks_);
    compare_sums(ranks_);
  }

  /// From now on a rank chooses an expert too many.
  void spoil(std::size_t rank) { ranks_[rank]->ids[1] = given_.experts; }
  void require_error(cuda::FusedError error) const {
    for (auto const& rank : ranks_) CHECK(static_cast<cuda::FusedError>(rank->state().error >> 32) == error);
  }
  void require_no_rows() const {
    for (auto const& rank : ranks_)
      CHECK(std::all_of(rank->expert_rows.begin(), rank->expert_rows.end(), [](float value) { return value == 0; }));
  }
  void require_failed() const {
    for (auto const& rank : ranks_) {
      CHECK(rank->state().error != 0);
      CHECK(std::all_of(rank->out.begin(), rank->out.end(), [](float value) { return value == 0; }));
      CHECK((rank->error[0] != 0) == (rank->self == 1));
    }
  }

  void plan() {
    std::vector<cuda::StepTables> tables(ranks_.size());
    std::vector<cuda::FusedPlanBlockParams> params;
    for (auto& rank : ranks_) params.push_back(rank->plan_params());
    std::vector<EmulatedGrid> const grids(ranks_.size(), {1, cuda::kPlanBlockThreads});
    REQUIRE(gpus_.run(grids, resident_, [&](std::size_t rank) {
      cuda::plan_step(params[rank], ranks_[rank]->shared.data(), tables[rank]);
    }));
  }
  /// Rank 0 plans while the others dispatch.
  void plan_beside_dispatch(unsigned workers) {
    auto const plan = ranks_[0]->plan_params();
    cuda::StepTables tables{};
    std::vector<cuda::FusedDispatchParams> params;
    std::vector<EmulatedGrid> grids;
    for (auto& rank : ranks_) {
      params.push_back(rank->dispatch_params());
      grids.push_back(rank->few_grid(workers));
    }
    std::vector<std::vector<cuda::FewShared>> shared(ranks_.size(), std::vector<cuda::FewShared>(grids[1].blocks));
    grids[0] = {1, cuda::kPlanBlockThreads};
    REQUIRE(gpus_.run(grids, resident_, [&](std::size_t rank) {
      if (rank == 0) return cuda::plan_step(plan, ranks_[0]->shared.data(), tables);
      cuda::FewShared& of_block = shared[rank][blockIdx.x];
      cuda::FewDispatch work(params[rank], of_block);
      cuda::FewRows<cuda::FewDispatch>(params[rank].call, work, of_block).run();
    }));
  }
  /// @param other what the last rank makes of the call beside the rest
  void dispatch(unsigned workers, std::uint64_t other = 0) {
    std::vector<cuda::FusedDispatchParams> params;
    for (auto& rank : ranks_) params.push_back(rank->dispatch_params());
    params.back().call.digest += other;
    run_few<cuda::FewDispatch>(params, workers);
  }
  void combine(unsigned workers) {
    std::vector<cuda::FusedCombineParams> params;
    for (auto& rank : ranks_) params.push_back(rank->combine_params());
    run_few<cuda::FewCombine<float>>(params, workers);
  }

 private:
  /// The next routing and tokens of every rank; outputs are poisoned. @return core's plans
  std::vector<DispatchPlan> draw_step(int number) {
    auto const run = planner_case(given_, seed_ + static_cast<std::uint64_t>(number));
    std::vector<RoutingMap> routings;
    for (auto& rank : ranks_) {
      routings.push_back(cross_backend::draw_routing(run, rank->self));
      rank->ids.assign(routings.back().ids().begin(), routings.back().ids().end());
      rank->weights.assign(routings.back().weights().begin(), routings.back().weights().end());
      for (std::size_t i = 0; i < rank->tokens.size(); ++i)
        rank->tokens[i] = static_cast<float>((i * 7 + static_cast<std::size_t>(31 * rank->self + 13 * number)) % 64);
      std::fill(rank->expert_rows.begin(), rank->expert_rows.end(), -1e9F);
      std::fill(rank->out.begin(), rank->out.end(), -1e9F);
    }
    return cross_backend::core_plans(run, routings, cross_backend::placement_of(run));
  }

  using FewShares = std::vector<std::vector<cuda::FewShared>>;
  /// @param params, shares outlive the launch
  template <typename Work, typename Params>
  EmulatedGpus::Launch few_launch(std::vector<Params> const& params, unsigned workers, FewShares& shares) const {
    std::vector<EmulatedGrid> grids;
    for (auto const& rank : ranks_) {
      grids.push_back(rank->few_grid(workers));
      shares.emplace_back(grids.back().blocks);
    }
    return {grids, [&](std::size_t rank) {
              cuda::FewShared& of_block = shares[rank][blockIdx.x];
              Work work(params[rank], of_block);
              cuda::FewRows<Work>(params[rank].call, work, of_block).run();
            }};
  }

  template <typename Work, typename Params>
  void run_few(std::vector<Params> const& params, unsigned workers) {
    FewShares shares;
    REQUIRE(gpus_.run({few_launch<Work>(params, workers, shares)}, resident_));
    for (auto const& rank : ranks_)
      REQUIRE(std::all_of(rank->windows.claims, rank->windows.claims + cuda::kMostClaims,
                          [](unsigned claim) { return claim == 0; }));
  }

  EmulatedCase given_;
  std::size_t resident_;
  std::uint32_t seed_;
  EmulatedGpus gpus_;
  Ranks ranks_;
};

constexpr std::size_t kAll = 1000;

TEST_CASE("a block's plan is core's") {
  EmulatedCase const cases[] = {{2, 256, 8, {128, 100}}, {2, 4, 2, {3, 5}},           {3, 7, 3, {0, 31, 64}, 4},
                                {5, 3, 2, {12}},         {2, 8, 8, {40}, 0, 0, true}, {2, 8, 3, {70}, 0, 1},
                                {2, 700, 5, {31}},       {9, 64, 3, {9, 0, 31, 1}, 8}};
  std::uint32_t seed = 1;
  for (EmulatedCase const& given : cases) {
    CAPTURE(++seed);
    EmulatedSteps steps(given, 1, kAll, seed);
    steps.step(0, 0, 32);
  }
}

TEST_CASE("rows arrive for any number of resident blocks") {
  EmulatedCase const cases[] = {{2, 4, 2, {3, 5}},
                                {3, 7, 3, {6, 0, 11}, 2},
                                {2, 8, 8, {6}, 0, 0, true},
                                {2, 8, 3, {4}, 0, 1},
                                {5, 40, 8, {4, 1, 0, 5, 2}}};
  std::uint32_t seed = 100;
  for (std::size_t const resident : {std::size_t{1}, kAll})
    for (EmulatedCase const& given : cases) {
      CAPTURE(resident);
      CAPTURE(++seed);
      EmulatedSteps steps(given, seed % 2 == 0 ? 3 : 70, resident, seed);
      for (int number = 0; number < (resident == 1 ? 1 : 2); ++number)
        steps.step(number, 1 + number % 2, number == 1 ? 64 : 32);
    }
}

TEST_CASE("rows arrive although a rank is an operation ahead of its peers") {
  std::uint32_t seed = 200;
  for (std::size_t const resident : {std::size_t{1}, kAll})
    for (EmulatedCase const& given : {EmulatedCase{2, 8, 2, {6, 5}}, EmulatedCase{3, 7, 3, {6, 0, 9}, 2}}) {
      CAPTURE(resident);
      CAPTURE(++seed);
      EmulatedSteps steps(given, 3, resident, seed);
      for (int number = 0; number < 4; ++number) steps.chained_step(number, 32);
    }
}

TEST_CASE("an id outside the model fails every rank and clears what it would have written") {
  EmulatedSteps steps({2, 8, 2, {4}}, 3, kAll, 7);
  steps.step(0, 1, 32);
  steps.spoil(1);
  steps.plan();
  steps.dispatch(32);
  steps.combine(32);
  steps.require_failed();
}

TEST_CASE("a plan beside a dispatch is refused on all ranks") {
  EmulatedSteps steps({2, 8, 2, {4}}, 3, kAll, 8);
  steps.step(0, 1, 32);
  steps.plan_beside_dispatch(32);
  steps.require_error(cuda::FusedError::other_call);
}

TEST_CASE("rows that come in a dispatch of which ranks disagree do not stay") {
  for (std::uint32_t seed = 30; seed < 36; ++seed) {
    EmulatedSteps steps({2, 8, 2, {6}}, 40, kAll, seed);
    steps.step(0, 1, 32);
    steps.dispatch(32, 1);
    steps.require_error(cuda::FusedError::other_call);
    steps.require_no_rows();
  }
}

}  // namespace
