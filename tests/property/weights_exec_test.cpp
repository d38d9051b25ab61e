// SPDX-License-Identifier: Apache-2.0
// Probabilities that travel with their tokens, their gradient, and AllGather's bias path: every dispatcher, EP 1 to 8,
// TP or hidden shards 1 and 2, weights that name their (token, slot), against plain loops.
//
// By hand: one token on experts 0 and 1 with weights 2 and 5, expert rows 7 and 11. The weights reach the experts' rows
// as 2 and 5; the experts return 14 and 55, which add up to 69 = 2 * 7 + 5 * 11 with weight 1. With output gradient 4
// the rows' gradients are 4 and 4, the experts' weight gradients 28 and 44, and they come home to slots 0 and 1. Biases
// 3 and 1 on two TP ranks: every rank sends 2 * 3 + 5 * 1 = 11, the sum 22 divided by 2 is 11.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/error_text.hpp"
#include "support/recipe_runs.hpp"

using namespace switchyard;
using support::Dispatcher;
using support::narrowed;
using support::RecipeBatch;
using support::RecipeRun;
using support::widened;

namespace {

/// One rank of a run, with the batch token and slot of every expert row.
struct RankRows {
  DispatchPlan plan;
  support::RankBatch part;
  std::vector<int> token;   ///< -1 in an empty bin
  std::vector<int> slot;    ///< -1 in an empty bin
  std::vector<int> expert;  ///< of every row
  int shard = 0;            ///< TP rank or hidden shard
};

RankRows rank_rows(RecipeBatch const& batch, RecipeRun const& run, Communicator& comm, cpu::CpuExecutor& executor) {
  RankRows rank;
  rank.part = support::rank_batch(batch, run, comm.rank().value());
  rank.plan =
      support::plan_of(run, comm, rank.part.routing, ExpertPlacement::contiguous(1, batch.experts, run.grid.ep));
  rank.shard = run.part_of(rank.plan.rank);
  std::vector<float> names;
  for (int token = 0; token < rank.part.count; ++token)
    names.push_back(static_cast<float>(1 + rank.part.first + token));
  std::vector<float> payload(static_cast<std::size_t>(rank.plan.num_expert_rows()), -1.0F);
  executor.dispatch(rank.plan, ConstTensorView::matrix(std::span<float const>(names), rank.part.count, 1),
                    TensorView::matrix(std::span(payload), rank.plan.num_expert_rows(), 1));
  for (int local = 0; local < rank.plan.num_local_experts(); ++local)
    rank.expert.insert(rank.expert.end(),
                       static_cast<std::size_t>(rank.plan.tokens_per_local_expert[static_cast<std::size_t>(local)]),
                       rank.plan.first_slot + local);
  for (std::size_t row = 0; row < payload.size(); ++row) {
    int const token = static_cast<int>(payload[row]) - 1;
    auto const chosen = batch.choices(std::max(token, 0));
    auto const slot = std::find(chosen.begin(), chosen.end(), rank.expert[row]) - chosen.begin();
    rank.token.push_back(token);
    rank.slot.push_back(token < 0 ? -1 : static_cast<int>(slot));
  }
  return rank;
}

template <typename Check>
void for_all_runs(RecipeBatch const& batch, Check const& check) {
  support::for_all_runs(support::kRecipeGrids, [&](RecipeRun const& run) {
    auto const scheduler = cpu::make_cooperative_scheduler(batch.seed);
    cpu::run_ranks(*scheduler, run.grid.world(), {}, [&](Communicator& comm) {
      cpu::CpuExecutor executor(comm);
      check(run, executor, rank_rows(batch, run, comm, executor));
    });
  });
}

/// Names its (token, slot); the low bits are lost by anything that goes through fp32.
template <typename Weight>
Weight tag_of(int token, int slot) {
  auto const name = static_cast<Weight>(1 + token * 64 + slot);
  return std::is_same_v<Weight, double> ? name + static_cast<Weight>(0x1p-40) : name;
}

template <typename Weight>
void check_tags(RecipeBatch const& batch, cpu::CpuExecutor& executor, RankRows const& rank) {
  std::vector<Weight> weights;
  for (int token = rank.part.first; token < rank.part.first + rank.part.count; ++token)
    for (int slot = 0; slot < batch.top_k; ++slot) weights.push_back(tag_of<Weight>(token, slot));
  std::vector<Weight> rows(rank.token.size(), Weight{-12345});
  executor.dispatch_weights(rank.plan, std::span<Weight const>(weights), std::span<Weight>(rows));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    Weight const expected = rank.token[row] < 0 ? Weight{0} : tag_of<Weight>(rank.token[row], rank.slot[row]);
    CHECK(oracle::code_of(rows[row]) == oracle::code_of(expected));
  }
}

/// One TP rank's or shard's part of a row's gradient.
template <typename Weight>
Weight part_of_gradient(RecipeBatch const& batch, int token, int expert, int shard) {
  auto const index = static_cast<std::uint64_t>((token * 64 + expert) * 4 + shard);
  auto const value = static_cast<Weight>(support::wide_value(batch.rng(40), index, 20));
  return std::is_same_v<Weight, double> ? value * static_cast<Weight>(1.0 + 0x1p-40) : value;
}

template <typename Weight>
void check_gradients(RecipeBatch const& batch, RecipeRun const& run, cpu::CpuExecutor& executor, RankRows const& rank) {
  std::vector<Weight> parts;
  for (std::size_t row = 0; row < rank.token.size(); ++row)
    parts.push_back(rank.token[row] < 0
                        ? static_cast<Weight>(std::nanf(""))
                        : part_of_gradient<Weight>(batch, rank.token[row], rank.expert[row], rank.shard));
  std::vector<Weight> gradients(static_cast<std::size_t>(rank.part.count * batch.top_k), Weight{-12345});
  executor.dispatch_weights_backward(rank.plan, std::span<Weight const>(parts), std::span<Weight>(gradients));
  for (int index = 0; index < rank.part.count; ++index)
    for (int slot = 0; slot < batch.top_k; ++slot) {
      int const token = rank.part.first + index;
      int const expert = batch.choices(token)[static_cast<std::size_t>(slot)];
      Weight expected = expert < 0 ? Weight{0} : part_of_gradient<Weight>(batch, token, expert, 0);
      if (expert >= 0 && run.grid.tp == 2) {
        Weight const volatile sum = expected + part_of_gradient<Weight>(batch, token, expert, 1);
        expected = sum;
      }
      CHECK(oracle::code_of(gradients[static_cast<std::size_t>(index * batch.top_k + slot)]) ==
            oracle::code_of(expected));
    }
}

/// Small integers, so that every sum is exact whatever the order.
float integer(RecipeBatch const& batch, std::uint64_t stream, int a, int b, std::int64_t column = 0) {
  auto const index = static_cast<std::uint64_t>((a * 64 + b) * 4096 + column);
  return static_cast<float>(static_cast<int>(batch.rng(stream).bits(index) % 11) - 5);
}

/// The experts' own work with and without weights, and its gradients both ways.
struct AppliedWeights {
  RecipeBatch const& batch;
  RecipeRun const& run;
  cpu::CpuExecutor& executor;
  RankRows const& rank;

  [[nodiscard]] std::vector<float> weights() const {
    std::vector<float> values;
    for (int token = rank.part.first; token < rank.part.first + rank.part.count; ++token)
      for (int slot = 0; slot < batch.top_k; ++slot) values.push_back(integer(batch, 50, token, slot));
    return values;
  }
  /// This shard's results, each times its row's factor.
  [[nodiscard]] std::vector<float> results(std::vector<float> const& factors) const {
    std::vector<float> rows;
    for (std::size_t row = 0; row < rank.token.size(); ++row)
      for (std::int64_t c = 0; c < batch.hidden; ++c)
        rows.push_back(rank.token[row] < 0 ? std::nanf("")
                                           : factors[row] * integer(batch, 51 + static_cast<std::uint64_t>(rank.shard),
                                                                    rank.token[row], rank.expert[row], c));
    return rows;
  }
  [[nodiscard]] std::vector<float> gradients() const {
    std::vector<float> rows;
    for (int token = rank.part.first; token < rank.part.first + rank.part.count; ++token)
      for (std::int64_t c = 0; c < batch.hidden; ++c) rows.push_back(integer(batch, 55, token, 0, c));
    return rows;
  }
  [[nodiscard]] ConstTensorView view(std::vector<float> const& rows) const {
    return ConstTensorView::matrix(std::span<float const>(rows), static_cast<std::int64_t>(rows.size()) / batch.hidden,
                                   batch.hidden);
  }

  void check(CombineRecipe const& recipe) const {
    auto const given = weights();
    std::vector<float> travelled(rank.token.size());
    executor.dispatch_weights(rank.plan, std::span<float const>(given), std::span<float>(travelled));
    std::vector<float> const ones(rank.token.size(), 1.0F);
    auto const plain = results(ones);
    auto const weighted = results(travelled);
    cpu::CombineInputs by_combine;
    by_combine.weights = given;
    by_combine.experts = rank.part.routing.ids();
    cpu::CombineInputs by_experts;
    by_experts.weights_applied = true;
    by_experts.experts = by_combine.experts;
    CHECK(combined(recipe, plain, by_combine) == combined(recipe, weighted, by_experts));
    check_backward(plain, weighted, by_combine, by_experts);
  }

  [[nodiscard]] std::vector<float> combined(CombineRecipe const& recipe, std::vector<float> const& rows,
                                            cpu::CombineInputs const& inputs) const {
    std::vector<float> out(static_cast<std::size_t>(rank.part.count * batch.hidden), -12345.0F);
    executor.combine(rank.plan, recipe, view(rows), inputs,
                     TensorView::matrix(std::span(out), rank.part.count, batch.hidden));
    return out;
  }

  void check_backward(std::vector<float> const& plain, std::vector<float> const& weighted,
                      cpu::CombineInputs const& by_combine, cpu::CombineInputs const& by_experts) const {
    auto const out_gradients = gradients();
    std::vector<float> row_gradients(plain.size(), -12345.0F);
    std::vector<float> expected(static_cast<std::size_t>(rank.part.count * batch.top_k), -12345.0F);
    std::vector<float> unused = expected;
    auto const rows = TensorView::matrix(std::span(row_gradients), rank.plan.num_expert_rows(), batch.hidden);
    executor.combine_backward(rank.plan, view(out_gradients), view(plain), by_combine, rows, expected);
    executor.combine_backward(rank.plan, view(out_gradients), view(weighted), by_experts, rows, unused);
    std::vector<float> own(rank.token.size(), 0.0F);  // <what the expert made, its gradient>, this shard's part
    for (std::size_t row = 0; row < own.size(); ++row)
      for (std::size_t c = 0; rank.token[row] >= 0 && c < static_cast<std::size_t>(batch.hidden); ++c)
        own[row] += plain[row * static_cast<std::size_t>(batch.hidden) + c] *
                    row_gradients[row * static_cast<std::size_t>(batch.hidden) + c];
    std::vector<float> came_home(expected.size(), -12345.0F);
    executor.dispatch_weights_backward(rank.plan, std::span<float const>(own), std::span<float>(came_home));
    CHECK(came_home == expected);
  }
};

float bias_of(RecipeBatch const& batch, int expert, std::int64_t column) {
  return support::wide_value(batch.rng(60), static_cast<std::uint64_t>(expert * 4096 + column), 12);
}

/// The plain loops of the bias path for one element: every TP rank brings the whole bias.
template <typename T>
std::uint64_t bias_code(RecipeBatch const& batch, RecipeRun const& run, int token, std::int64_t column) {
  auto terms = support::terms_of<T>(batch, run, token, column, true);
  for (auto& term : terms) term.row = widened(narrowed<T>(bias_of(batch, term.expert, column)));
  auto const sum = run.weights_f64 ? oracle::megatron_allgather_fp64(terms, oracle::kFormatF32)
                                   : oracle::rank_partial(terms, oracle::kFormatF32, oracle::kFormatF32);
  float const volatile divided =
      static_cast<float>(oracle::double_of(oracle::kFormatF32, sum)) / static_cast<float>(run.grid.tp);
  return oracle::code_nearest_to(support::format_of<T>(), static_cast<double>(divided));
}

template <typename T>
void check_bias(RecipeBatch const& batch, RecipeRun run, cpu::CpuExecutor& executor, RankRows const& rank) {
  std::vector<T> bias;
  for (int local = 0; local < rank.plan.num_local_experts(); ++local)
    for (std::int64_t c = 0; c < batch.hidden; ++c)
      bias.push_back(narrowed<T>(bias_of(batch, rank.plan.first_slot + local, c)));
  for (bool const weights_f64 : {false, true}) {
    run.weights_f64 = weights_f64;
    cpu::CombineInputs inputs;
    inputs.weights = rank.part.routing.weights();
    if (weights_f64) inputs.weights_f64 = std::span<double const>(rank.part.weights);
    std::vector<T> out(static_cast<std::size_t>(rank.part.count * batch.hidden), narrowed<T>(-12345.0F));
    executor.combine_bias(
        rank.plan, ConstTensorView::matrix(std::span<T const>(bias), rank.plan.num_local_experts(), batch.hidden),
        inputs, TensorView::matrix(std::span(out), rank.part.count, batch.hidden));
    for (std::size_t i = 0; i < out.size(); ++i) {
      auto const hidden = static_cast<std::size_t>(batch.hidden);
      CHECK(oracle::code_of(out[i]) == bias_code<T>(batch, run, rank.part.first + static_cast<int>(i / hidden),
                                                    static_cast<std::int64_t>(i % hidden)));
    }
  }
}

}  // namespace

TEST_CASE("probabilities reach exactly the rows of their (token, slot), in fp32 and fp64") {
  RecipeBatch batch;
  batch.seed = 41;
  batch.hidden = 1;
  for_all_runs(batch, [&](RecipeRun const&, cpu::CpuExecutor& executor, RankRows const& rank) {
    check_tags<float>(batch, executor, rank);
    check_tags<double>(batch, executor, rank);
  });
}

TEST_CASE("gradients of probabilities come home to their slots, shards joined once") {
  RecipeBatch batch;
  batch.seed = 42;
  batch.hidden = 1;
  for_all_runs(batch, [&](RecipeRun const& run, cpu::CpuExecutor& executor, RankRows const& rank) {
    check_gradients<float>(batch, run, executor, rank);
    check_gradients<double>(batch, run, executor, rank);
  });
}

TEST_CASE("weights applied by the experts give what the combine gives, forward and backward, in exact integers") {
  RecipeBatch batch;
  batch.seed = 43;
  batch.hidden = 5;
  for_all_runs(batch, [&](RecipeRun const& run, cpu::CpuExecutor& executor, RankRows const& rank) {
    for (auto const& recipe : {CombineRecipe::source_slot_order(), CombineRecipe::source_expert_order(),
                               CombineRecipe::rank_partial(), CombineRecipe::exact()})
      AppliedWeights{batch, run, executor, rank}.check(recipe);
  });
}

TEST_CASE("AllGather's bias path: weighted, summed over all ranks, divided by TP") {
  RecipeBatch batch;
  batch.seed = 44;
  batch.hidden = 7;
  for_all_runs(batch, [&](RecipeRun const& run, cpu::CpuExecutor& executor, RankRows const& rank) {
    bool const offered = run.dispatcher == Dispatcher::allgather || run.dispatcher == Dispatcher::flex;
    if (!offered) return;
    check_bias<float>(batch, run, executor, rank);
    check_bias<bf16_t>(batch, run, executor, rank);
    check_bias<f16_t>(batch, run, executor, rank);
  });
}

TEST_CASE("wrong sizes, NaN weights and plans without partials are refused by name") {
  RecipeBatch batch;
  batch.hidden = 2;
  RecipeRun run;
  run.dispatcher = Dispatcher::alltoall_tp_major;
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](Communicator& comm) {
    cpu::CpuExecutor executor(comm);
    auto const rank = rank_rows(batch, run, comm, executor);
    std::vector<float> weights(static_cast<std::size_t>(batch.tokens * batch.top_k), 1.0F);
    std::vector<float> rows(rank.token.size());
    auto const refused = [&](ErrorCode code, auto const& call) {
      return support::error_text(code, [&] {
        call();
        return 0;
      });
    };
    auto const short_rows = std::span<float>(rows).first(rows.size() - 1);
    CHECK(support::contains(
        refused(ErrorCode::shape_mismatch,
                [&] { executor.dispatch_weights(rank.plan, std::span<float const>(weights), short_rows); }),
        "row weights"));
    weights[1] = std::nanf("");
    CHECK(support::contains(
        refused(ErrorCode::invalid_argument,
                [&] { executor.dispatch_weights(rank.plan, std::span<float const>(weights), std::span<float>(rows)); }),
        "token 0, slot 1 on rank 0 is NaN"));
    CHECK(support::contains(refused(ErrorCode::shape_mismatch,
                                    [&] {
                                      executor.dispatch_weights_backward(rank.plan, std::span<float const>(rows),
                                                                         std::span<float>(weights).first(3));
                                    }),
                            "weight gradients"));
    std::vector<float> bias(static_cast<std::size_t>(batch.experts * 2));
    std::vector<float> out(static_cast<std::size_t>(batch.tokens * 2));
    cpu::CombineInputs inputs;
    inputs.weights = rank.part.routing.weights();
    CHECK(support::contains(refused(ErrorCode::unsupported,
                                    [&] {
                                      executor.combine_bias(
                                          rank.plan,
                                          ConstTensorView::matrix(std::span<float const>(bias), batch.experts, 2),
                                          inputs, TensorView::matrix(std::span(out), batch.tokens, 2));
                                    }),
                            "megatron_allgather"));
  });
}
