// SPDX-License-Identifier: Apache-2.0
// Gradients of dispatch and combine: the inner-product identities in exact integers for every dispatcher, EP 1, 2, 4, 8
// and TP (or hidden shards) 1, 2, then bit for bit against plain loops on rows with wide exponents.
//
// By hand: one token x = 3 on experts 0 and 1 with weights 2 and 5, expert rows 7 and 11, output gradient 4. Combine
// gives 2 * 7 + 5 * 11 = 69; the rows' gradients are 8 and 20 (<row, gradient> = 56 + 220 = 276 = 69 * 4), the weights'
// 28 and 44 (2 * 28 + 5 * 44 = 276); row gradients 8 and 20 of the dispatch give the token 28.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/recipe_runs.hpp"
#include "switchyard/cpu/parallel_for.hpp"

using namespace switchyard;
using support::narrowed;
using support::RecipeBatch;
using support::RecipeRun;
using support::widened;

namespace {

/// Operands and results of one rank. Empty bins hold NaN in what goes in.
template <typename T>
struct RankGradients {
  std::vector<T> tokens;           ///< [T, H] dispatched
  std::vector<T> dispatched;       ///< [N, H]
  std::vector<float> results;      ///< [N, H] what the experts return, and the gradients of what they got
  std::vector<float> weights;      ///< [T * K]
  std::vector<T> combined;         ///< [T, H]
  std::vector<T> out_gradients;    ///< [T, H]
  std::vector<T> token_gradients;  ///< [T, H]
  std::vector<T> row_gradients;    ///< [N, H]
  std::vector<float> weight_gradients;
  std::vector<int> row_tokens;   ///< [N] batch token of every row, -1 in an empty bin
  std::vector<int> row_experts;  ///< [N]
};

/// Where the values come from: small integers, or the batch's wide values.
struct Values {
  RecipeBatch batch;
  bool integers = false;

  [[nodiscard]] float integer(std::uint64_t stream, int a, int b, std::int64_t column) const {
    auto const index = static_cast<std::uint64_t>((a * 64 + b) * 4096 + column);
    return static_cast<float>(static_cast<int>(batch.rng(stream).bits(index) % 15) - 7);
  }
  [[nodiscard]] float token(int token, std::int64_t column) const { return integer(20, token, 0, column); }
  [[nodiscard]] float gradient(int token, std::int64_t column) const {
    if (integers) return integer(21, token, 0, column);
    return support::wide_value(batch.rng(22), static_cast<std::uint64_t>(token * 4096 + column), 12);
  }
  [[nodiscard]] float weight(int token, int slot) const {
    return integers ? integer(23, token, slot, 0) : static_cast<float>(batch.weight(token, slot));
  }
  template <typename T>
  [[nodiscard]] float result(RecipeRun const& run, int token, int expert, std::int64_t column, int part) const {
    if (integers) return integer(24 + static_cast<std::uint64_t>(part), token, expert, column);
    return run.grid.tp == 1 ? batch.output<T>(token, expert, column) : batch.part(token, expert, column, part);
  }
};

template <typename T>
ConstTensorView matrix(std::vector<T> const& values, std::int64_t rows, std::int64_t hidden) {
  return ConstTensorView::matrix(std::span<T const>(values), rows, hidden);
}

/// Names the rows by a dispatch of 1 + batch token.
template <typename T>
void name_rows(RecipeBatch const& batch, RecipeRun const& run, DispatchPlan const& plan, int first,
               cpu::CpuExecutor& executor, RankGradients<T>& rank) {
  std::vector<float> names;
  for (int token = 0; token < plan.num_tokens; ++token) names.push_back(static_cast<float>(1 + first + token));
  std::vector<float> payload(static_cast<std::size_t>(plan.num_expert_rows()), -1.0F);
  executor.dispatch(plan, matrix(names, plan.num_tokens, 1),
                    TensorView::matrix(std::span(payload), plan.num_expert_rows(), 1));
  for (float const name : payload) rank.row_tokens.push_back(static_cast<int>(name) - 1);
  int const blocks = batch.experts / run.grid.ep;
  REQUIRE(plan.num_local_experts() == blocks);
  for (int local = 0; local < blocks; ++local)
    rank.row_experts.insert(rank.row_experts.end(),
                            static_cast<std::size_t>(plan.tokens_per_local_expert[static_cast<std::size_t>(local)]),
                            plan.first_slot + local);
}

template <typename T>
RankGradients<T> differentiate(Values const& values, RecipeRun const& run, Communicator& comm) {
  auto const& batch = values.batch;
  auto const part = support::rank_batch(batch, run, comm.rank().value());
  auto const plan =
      support::plan_of(run, comm, part.routing, ExpertPlacement::contiguous(1, batch.experts, run.grid.ep));
  cpu::CpuExecutor executor(comm);
  RankGradients<T> rank;
  name_rows(batch, run, plan, part.first, executor, rank);
  std::int64_t const hidden = batch.hidden;
  for (int token = part.first; token < part.first + part.count; ++token) {
    for (std::int64_t c = 0; c < hidden; ++c) rank.tokens.push_back(narrowed<T>(values.token(token, c)));
    for (std::int64_t c = 0; c < hidden; ++c) rank.out_gradients.push_back(narrowed<T>(values.gradient(token, c)));
    for (int slot = 0; slot < batch.top_k; ++slot) rank.weights.push_back(values.weight(token, slot));
  }
  for (std::size_t row = 0; row < rank.row_tokens.size(); ++row)
    for (std::int64_t c = 0; c < hidden; ++c)
      rank.results.push_back(
          rank.row_tokens[row] < 0
              ? std::nanf("")
              : values.result<T>(run, rank.row_tokens[row], rank.row_experts[row], c, run.part_of(plan.rank)));
  T const poison = narrowed<T>(-12345.0F);
  rank.dispatched.assign(rank.results.size(), poison);
  rank.row_gradients.assign(rank.results.size(), poison);
  rank.combined.assign(rank.tokens.size(), poison);
  rank.token_gradients.assign(rank.tokens.size(), poison);
  rank.weight_gradients.assign(rank.weights.size(), -12345.0F);

  std::int64_t const rows = plan.num_expert_rows();
  auto const results = matrix(rank.results, rows, hidden);
  cpu::CombineInputs inputs;
  inputs.weights = rank.weights;
  inputs.experts = part.routing.ids();
  executor.dispatch(plan, matrix(rank.tokens, part.count, hidden),
                    TensorView::matrix(std::span(rank.dispatched), rows, hidden));
  executor.combine(plan, run.recipe, results, inputs, TensorView::matrix(std::span(rank.combined), part.count, hidden));
  executor.dispatch_backward(plan, run.recipe, results, part.routing.ids(),
                             TensorView::matrix(std::span(rank.token_gradients), part.count, hidden));
  executor.combine_backward(plan, matrix(rank.out_gradients, part.count, hidden), results, inputs,
                            TensorView::matrix(std::span(rank.row_gradients), rows, hidden), rank.weight_gradients);
  return rank;
}

template <typename T>
std::vector<RankGradients<T>> differentiate_all(Values const& values, RecipeRun const& run) {
  std::vector<RankGradients<T>> ranks(static_cast<std::size_t>(run.grid.world()));
  auto const scheduler = cpu::make_cooperative_scheduler(values.batch.seed);
  cpu::run_ranks(*scheduler, run.grid.world(), {},
                 [&](Communicator& comm) { ranks[comm.rank().index()] = differentiate<T>(values, run, comm); });
  return ranks;
}

/// Small integers: every sum is exact in fp64.
double dot(std::vector<float> const& a, std::vector<float> const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!std::isnan(a[i]) && !std::isnan(b[i])) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

void check_identities(RecipeBatch const& batch, RecipeRun const& run) {
  auto const ranks = differentiate_all<float>({batch, true}, run);
  double dispatched = 0, tokens = 0, combined = 0, rows = 0, weights = 0, bins = 0;
  for (auto const& rank : ranks) {
    dispatched += dot(rank.dispatched, rank.results);
    tokens += dot(rank.tokens, rank.token_gradients);
    combined += dot(rank.combined, rank.out_gradients);
    rows += dot(rank.results, rank.row_gradients);
    weights += dot(rank.weights, rank.weight_gradients);
    for (std::size_t i = 0; i < rank.results.size(); ++i)
      if (std::isnan(rank.results[i])) bins += std::fabs(static_cast<double>(rank.row_gradients[i]));
  }
  CHECK(tokens != 0);
  CHECK(dispatched == tokens);
  CHECK(combined != 0);
  CHECK(rows == combined);
  CHECK(weights == combined);
  CHECK(bins == 0);
}

/// lane32 by its definition.
float lane32(std::vector<float> const& terms) {
  std::vector<float> lanes(32, 0.0F);
  for (std::size_t i = 0; i < terms.size(); ++i) {
    float const volatile sum = lanes[i % 32] + terms[i];
    lanes[i % 32] = sum;
  }
  for (std::size_t half = 16; half > 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane) {
      float const volatile sum = lanes[lane] + lanes[lane + half];
      lanes[lane] = sum;
    }
  return lanes[0];
}

template <typename T>
void check_token(Values const& values, RankGradients<T> const& rank, int first, int index) {
  auto const& batch = values.batch;
  auto const row = support::format_of<T>();
  int const token = first + index;
  auto const chosen = batch.choices(token);
  auto const element = static_cast<std::size_t>(index) * static_cast<std::size_t>(batch.hidden);
  for (std::int64_t c = 0; c < batch.hidden; ++c) {
    oracle::RecipeTerms terms;
    for (int slot = 0; slot < batch.top_k; ++slot) {
      int const expert = chosen[static_cast<std::size_t>(slot)];
      if (expert >= 0) terms.push_back({batch.output<T>(token, expert, c), 1.0, slot, expert, 0, 0});
    }
    CHECK(oracle::code_of(rank.token_gradients[element + static_cast<std::size_t>(c)]) ==
          oracle::source_slot_order(terms, row));
  }
  for (int slot = 0; slot < batch.top_k; ++slot) {
    int const expert = chosen[static_cast<std::size_t>(slot)];
    std::vector<float> products;
    for (std::int64_t c = 0; c < batch.hidden && expert >= 0; ++c) {
      float const gradient = widened(narrowed<T>(values.gradient(token, c)));
      float const volatile product = batch.output<T>(token, expert, c) * gradient;
      products.emplace_back(product);
    }
    auto const entry = static_cast<std::size_t>(index * batch.top_k + slot);
    CHECK(oracle::code_of(rank.weight_gradients[entry]) ==
          oracle::code_nearest_to(oracle::kFormatF32, static_cast<double>(lane32(products))));
  }
}

template <typename T>
void check_rows(Values const& values, RankGradients<T> const& rank) {
  auto const& batch = values.batch;
  for (std::size_t row = 0; row < rank.row_tokens.size(); ++row) {
    int const token = rank.row_tokens[row];
    if (token < 0) continue;
    auto const chosen = batch.choices(token);
    auto const slot = std::find(chosen.begin(), chosen.end(), rank.row_experts[row]) - chosen.begin();
    for (std::int64_t c = 0; c < batch.hidden; ++c) {
      float const gradient = widened(narrowed<T>(values.gradient(token, c)));
      float const volatile product = values.weight(token, static_cast<int>(slot)) * gradient;
      auto const at = row * static_cast<std::size_t>(batch.hidden) + static_cast<std::size_t>(c);
      CHECK(oracle::code_of(rank.row_gradients[at]) ==
            oracle::code_nearest_to(support::format_of<T>(), static_cast<double>(product)));
    }
  }
}

template <typename T>
void check_bits(RecipeBatch const& batch, RecipeRun const& run) {
  Values const values{batch, false};
  auto const ranks = differentiate_all<T>(values, run);
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    CAPTURE(rank);
    auto const [first, last] = run.share(batch.tokens, static_cast<int>(rank));
    for (int token = first; token < last; ++token) check_token<T>(values, ranks[rank], first, token - first);
    check_rows<T>(values, ranks[rank]);
  }
}

}  // namespace

TEST_CASE("inner products are kept in exact integers") {
  RecipeBatch batch;
  batch.hidden = 5;
  support::for_all_runs(support::kRecipeGrids, [&](RecipeRun run) {
    for (auto const& recipe :
         {CombineRecipe::source_slot_order(), CombineRecipe::source_expert_order(), CombineRecipe::exact()}) {
      run.recipe = recipe;
      check_identities(batch, run);
    }
    run.recipe = CombineRecipe::rank_partial();
    check_identities(batch, run);
  });
}

TEST_CASE("gradients equal plain loops in the named orders") {
  RecipeBatch batch;
  batch.seed = 31;
  batch.tokens = 7;
  batch.hidden = 33;
  support::for_all_runs(support::kRecipeGrids, [&](RecipeRun const& run) {
    check_bits<float>(batch, run);
    check_bits<bf16_t>(batch, run);
    check_bits<f16_t>(batch, run);
  });
}
