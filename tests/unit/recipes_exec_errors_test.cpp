// SPDX-License-Identifier: Apache-2.0
// Which plans can be combined by which recipes, with the reason of every refusal, and what bad inputs are called.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "support/error_text.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/cpu/recipe_support.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"

using namespace switchyard;
using cpu::CombineRoute;
using cpu::recipe_support;
using support::contains;
using support::error_text;

namespace {

/// Two tokens that both chose experts 1 and 0, in that slot order.
RoutingMap small_routing() {
  return RoutingMap::from_topk(2, 3, 2, {1, 0, 1, 0}, {1, 2, 3, 4});
}
DispatchPlan gathered_plan() {
  std::vector<RoutingMap> const routings{small_routing()};
  return plan_allgather_group({}, routings, ExpertPlacement::contiguous(1, 3, 1), 0).front();
}

DispatchPlan plan_of(DispatchFamily family) {
  DispatchPlan plan;
  plan.setup.family = family;
  return plan;
}

std::vector<float> combine_alone(CombineRecipe const& recipe, cpu::CombineInputs const& inputs) {
  std::vector<float> out(2, -7.0F);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](Communicator& comm) {
    std::vector<float> const rows{10, 20, 1, 2};  // expert 0: tokens 0, 1; expert 1: tokens 0, 1
    cpu::CpuExecutor executor(comm);
    executor.combine(gathered_plan(), recipe, ConstTensorView::matrix(std::span<float const>(rows), 4, 1), inputs,
                     TensorView::matrix(std::span(out), 2, 1));
  });
  return out;
}

std::string combine_error(ErrorCode code, CombineRecipe const& recipe, cpu::CombineInputs const& inputs) {
  return error_text(code, [&] {
    static_cast<void>(combine_alone(recipe, inputs));
    return 0;
  });
}

}  // namespace

TEST_CASE("recipes that sum at the source run on every family") {
  for (auto const family : {DispatchFamily::megatron_alltoall, DispatchFamily::megatron_allgather,
                            DispatchFamily::megatron_flex, DispatchFamily::megablocks})
    for (auto const& recipe : {CombineRecipe::source_slot_order(), CombineRecipe::source_expert_order(),
                               CombineRecipe::megablocks(), CombineRecipe::exact()})
      CHECK(recipe_support(plan_of(family), recipe).reason.empty());
}

constexpr DispatchFamily kFamilies[] = {DispatchFamily::megatron_alltoall, DispatchFamily::megatron_allgather,
                                        DispatchFamily::megatron_flex, DispatchFamily::megablocks};

TEST_CASE("rank_partial runs on every family: the source can round a rank's sum as the rank would") {
  for (auto const family : kFamilies)
    for (auto const wire : {Rounding::row, Rounding::bf16, Rounding::f32}) {
      CHECK(recipe_support(plan_of(family), CombineRecipe::rank_partial(wire)));
      CHECK(recipe_support(plan_of(family), CombineRecipe::rank_partial(wire), CombineRoute::rows));
    }
}

TEST_CASE("unjoined TP partials, and partials at all, need one row per (rank, token) on the wire") {
  for (auto const family : kFamilies) {
    bool const reduces = family == DispatchFamily::megatron_allgather || family == DispatchFamily::megatron_flex;
    auto const allgather = recipe_support(plan_of(family), CombineRecipe::megatron_allgather());
    auto const partials = recipe_support(plan_of(family), CombineRecipe::rank_partial(), CombineRoute::partials);
    CHECK(allgather.supported == reduces);
    CHECK(partials.supported == reduces);
    if (reduces) continue;
    CHECK(contains(allgather.reason, std::string(to_string(family))));
    CHECK(contains(allgather.reason, "joined on their way"));
    CHECK(contains(partials.reason, "one row per (rank, token)"));
  }
}

TEST_CASE("a route that would change a recipe's bits is refused") {
  auto const plan = plan_of(DispatchFamily::megatron_allgather);
  CHECK(contains(recipe_support(plan, CombineRecipe::megatron_allgather(), CombineRoute::rows).reason, "one by one"));
  CHECK(contains(recipe_support(plan, {}, CombineRoute::partials).reason, "at the source rank only"));
  CHECK(recipe_support(plan, CombineRecipe::exact(), CombineRoute::partials));
  CHECK(recipe_support(plan, CombineRecipe::exact(), CombineRoute::rows));
  CombineRecipe custom;
  custom.product = Rounding::bf16;
  CHECK(contains(recipe_support(plan, custom).reason, "without a name"));
}

TEST_CASE("combine by hand") {
  // Token 0: slot 0 is expert 1 (row 1, weight 1), slot 1 expert 0 (row 10, weight 2).
  std::vector<float> const weights{1, 2, 3, 4};
  std::vector<double> const weights_f64{1, 2, 3, 4};
  std::vector<std::int32_t> const experts{1, 0, 1, 0};
  cpu::CombineInputs inputs;
  inputs.weights = weights;
  inputs.experts = experts;
  std::vector<float> const expected{21, 86};
  for (auto const& recipe :
       {CombineRecipe::source_slot_order(), CombineRecipe::source_expert_order(), CombineRecipe::megablocks(),
        CombineRecipe::exact(), CombineRecipe::rank_partial(), CombineRecipe::megatron_allgather()})
    CHECK(combine_alone(recipe, inputs) == expected);
  inputs.weights = {};
  inputs.weights_f64 = std::span<double const>(weights_f64);
  CHECK(combine_alone(CombineRecipe::megatron_allgather(), inputs) == expected);
  std::vector<float> const shared{0.5F, -86.0F};
  inputs.shared_expert = ConstTensorView::matrix(std::span<float const>(shared), 2, 1);
  for (auto const entry : {SharedExpert::after_rounding, SharedExpert::as_term})
    CHECK(combine_alone(CombineRecipe::exact(entry), inputs) == std::vector<float>{21.5F, 0.0F});
}

TEST_CASE("bad inputs are refused by name") {
  std::vector<float> const weights{1, 2, 3, 4};
  std::vector<std::int32_t> const experts{1, 0, 1, 7};
  cpu::CombineInputs inputs;
  inputs.weights = weights;
  auto const by_expert = CombineRecipe::source_expert_order();
  CHECK(contains(combine_error(ErrorCode::shape_mismatch, by_expert, inputs), "0 expert ids"));
  inputs.experts = experts;
  CHECK(contains(combine_error(ErrorCode::invalid_argument, by_expert, inputs), "token 1, slot 1 on rank 0"));
  std::vector<double> const bad{1, 2, std::numeric_limits<double>::quiet_NaN(), 4};
  inputs.weights_f64 = std::span<double const>(bad);
  for (auto const& recipe : {CombineRecipe::rank_partial(), CombineRecipe::exact()})
    CHECK(contains(combine_error(ErrorCode::invalid_argument, recipe, inputs), "token 1, slot 0 on rank 0 is NaN"));
  std::vector<float> const shared(3);
  inputs.weights_f64.reset();
  inputs.shared_expert = ConstTensorView::matrix(std::span<float const>(shared), 3, 1);
  CHECK(contains(combine_error(ErrorCode::shape_mismatch, {}, inputs), "shared expert rows of rank 0"));
}
