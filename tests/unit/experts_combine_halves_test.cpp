// SPDX-License-Identifier: Apache-2.0
// A combine in two halves, and the bias that joins TP partials.
//
// By hand: 2 TP ranks, one expert, one token of rank 0 with weight 0.5; partials 3 and 4, bias 0.25: the joined row is
// 7.25, the token 3.625.
#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "support/layer_cases.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"

namespace {

using support::contains;
using support::DType;
using support::error_text;
using support::LayerCase;
using support::Matrix;
using switchyard::CombineRecipe;
using switchyard::DispatchPlan;
using switchyard::ErrorCode;
using switchyard::ExpertPlacement;
using switchyard::RoutingMap;
namespace cpu = switchyard::cpu;

template <typename Config>
Config config_of(int tp, int ep) {
  Config config;
  config.grid = {tp, ep};
  return config;
}

std::vector<CombineRecipe> recipes() {
  return {CombineRecipe::source_slot_order(), CombineRecipe::exact(), CombineRecipe::rank_partial(),
          CombineRecipe::rank_partial(switchyard::Rounding::f32)};
}

/// Both forms of one combine on one rank. @return whether their bytes agree
bool halves_agree(cpu::CpuExecutor& executor, DispatchPlan const& plan, CombineRecipe const& recipe, Matrix const& rows,
                  cpu::CombineInputs const& inputs, std::int64_t tokens) {
  auto whole = support::poison(static_cast<std::size_t>(tokens * rows.columns * 2));
  auto halves = support::poison(whole.size());
  executor.combine(plan, recipe, rows.view(), inputs, {whole.data(), DType::bf16, {tokens, rows.columns}});
  executor.start_combine(plan, recipe, rows.view(), inputs, {halves.data(), DType::bf16, {tokens, rows.columns}});
  executor.finish_combine();
  return whole == halves;
}

}  // namespace

TEST_CASE("the bias of a joined row by hand") {
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 2, {}, [](switchyard::Communicator& comm) {
    bool const first = comm.rank().value() == 0;
    auto const placement = ExpertPlacement::contiguous(1, 1, 1);
    auto const routing = first ? RoutingMap::from_topk(1, 1, 1, {0}, {0.5f}) : RoutingMap::from_topk(0, 1, 1, {}, {});
    auto const plan = plan_alltoall(comm, config_of<switchyard::AllToAllConfig>(2, 1), routing, placement, 0);
    auto const rows = support::matrix_of(DType::f32, 1, {first ? 3.0f : 4.0f});
    auto const bias = support::matrix_of(DType::f32, 1, {0.25f});
    cpu::CombineInputs inputs;
    inputs.weights = routing.weights();
    inputs.join_bias = bias.view();
    float out = -1.0f;
    cpu::CpuExecutor executor(comm);
    executor.combine(plan, CombineRecipe::source_slot_order(), rows.view(), inputs,
                     {&out, DType::f32, {routing.num_tokens(), 1}});
    CHECK(out == (first ? 3.625f : -1.0f));
  });
}

TEST_CASE("halves give the bytes of the whole, by rows and by partials, with a bias and without") {
  auto const scheduler = cpu::make_cooperative_scheduler();
  for (int const tp : {1, 2})
    for (bool const biased : {false, true}) {
      if (biased && tp == 1) continue;
      LayerCase c = support::layer_case(cpu::PrepareKind::flex, 2, tp);
      int agree = 0;
      cpu::run_ranks(*scheduler, c.world(), {}, [&](switchyard::Communicator& comm) {
        auto const placement = ExpertPlacement::contiguous(1, 8, 2);
        auto const batch = support::layer_batch(c, comm.rank().value());
        cpu::CpuExecutor executor(comm);
        cpu::CombineInputs inputs;
        inputs.weights = batch.routing.weights();
        std::mt19937_64 random(9 + static_cast<std::uint64_t>(c.options.grid.ep_rank_of(comm.rank())));
        auto const bias = support::random_matrix(random, DType::bf16, 4, 19);
        if (biased) inputs.join_bias = bias.view();
        auto const alltoall =
            plan_alltoall(comm, config_of<switchyard::AllToAllConfig>(tp, 2), batch.routing, placement, 0);
        auto const flex = plan_flex(comm, config_of<switchyard::FlexConfig>(tp, 2), batch.routing, placement, 0);
        for (CombineRecipe const& recipe : recipes())
          for (DispatchPlan const* plan : {&alltoall, &flex}) {
            auto const rows = support::random_matrix(random, DType::f32, plan->num_expert_rows(), 19);
            agree += halves_agree(executor, *plan, recipe, rows, inputs, batch.routing.num_tokens()) ? 1 : 0;
          }
      });
      CAPTURE(tp);
      CAPTURE(biased);
      CHECK(agree == c.world() * 8);
    }
}

TEST_CASE("a bias enters rank partials once: TP 2, 4 and 8 give the bits of TP 1") {
  for (auto const kind :
       {cpu::PrepareKind::allgather, cpu::PrepareKind::alltoall, cpu::PrepareKind::flex, cpu::PrepareKind::low_latency})
    for (CombineRecipe const& recipe : recipes()) {
      std::vector<std::vector<std::byte>> outputs;
      for (int const tp : {1, 2, 4, 8}) {
        LayerCase c = support::layer_case(kind, 2, tp);
        c.options.recipe = recipe;
        std::mt19937_64 random(5);
        auto const whole = support::random_weights(random, c.mlp);
        c.options.max_tokens_per_rank = 16;
        auto const all = support::layer_batch(c, 0);  // on rank 0 alone, so that it is the same batch for every TP
        auto const scheduler = cpu::make_cooperative_scheduler();
        cpu::run_ranks(*scheduler, c.world(), {}, [&](switchyard::Communicator& comm) {
          support::RankLayer rank(c, whole, comm);
          auto const none = RoutingMap::from_topk(0, 8, 2, {}, {});
          if (comm.rank().value() != 0)
            return rank.layer->forward({nullptr, DType::bf16, {0, 19}}, none, rank.weights(),
                                       {nullptr, DType::bf16, {0, 19}});
          auto out = support::poison(all.tokens.bytes.size());
          rank.layer->forward(all.tokens.view(), all.routing, rank.weights(), support::output_view(c, out, all));
          outputs.push_back(out);
        });
      }
      CAPTURE(to_string(kind));
      CAPTURE(to_string(recipe));
      CHECK(outputs.size() == 4);
      for (auto const& output : outputs) CHECK(output == outputs.front());
    }
}

TEST_CASE("halves out of order, and biases that nothing joins, are refused") {
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [](switchyard::Communicator& comm) {
    auto const placement = ExpertPlacement::contiguous(1, 1, 1);
    auto const routing = RoutingMap::from_topk(1, 1, 1, {0}, {1.0f});
    auto const plan = plan_alltoall(comm, config_of<switchyard::AllToAllConfig>(1, 1), routing, placement, 0);
    auto const rows = support::matrix_of(DType::f32, 1, {3.0f});
    float out = 0;
    cpu::CombineInputs inputs;
    inputs.weights = routing.weights();
    cpu::CpuExecutor executor(comm);
    auto const start = [&] {
      executor.start_combine(plan, CombineRecipe::source_slot_order(), rows.view(), inputs, {&out, DType::f32, {1, 1}});
    };
    CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { executor.finish_combine(); }), "has not started"));
    start();
    CHECK(contains(error_text(ErrorCode::invalid_argument, start), "while another is under way"));
    executor.finish_combine();
    CHECK(out == 3.0f);
    inputs.join_bias = rows.view();
    CHECK(contains(error_text(ErrorCode::invalid_argument, start), "but TP is 1: experts add it themselves"));
  });
}
