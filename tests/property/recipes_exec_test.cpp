// SPDX-License-Identifier: Apache-2.0
// Every combine recipe through the executor, on data on which the test first shows that the recipes differ: `exact` is
// one result for all dispatchers, EP 1, 2, 4, 8, TP 1, 2 and both routes, and equals a sum in big integers; every other
// recipe equals the plain loops of its definition. Then what must not change a bit: worker count, scheduler, seed.
//
// By hand, on one column of one token: 2^30 * 1, -2^30 * 1 and 2^-30 * 1 in slots 0, 1, 2 give 2^-30 in every recipe
// that adds in slot order, 0 in one that adds slot 2 first, and 2^-30 in `exact` either way.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/recipe_runs.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/recipe_support.hpp"

using namespace switchyard;
using cpu::CombineRoute;
using support::Dispatcher;
using support::RecipeBatch;
using support::RecipeRun;
using Codes = std::vector<std::uint64_t>;

namespace {

bool reduces_at_experts(Dispatcher dispatcher) {
  return dispatcher == Dispatcher::allgather || dispatcher == Dispatcher::flex;
}

/// How many codes differ; a CHECK on a number says more than one on a list.
std::size_t differences(Codes const& a, Codes const& b) {
  std::size_t count = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    if (a[i] != b[i]) ++count;
  return count;
}

Codes run_once(RecipeBatch const& batch, RecipeRun const& run, DType dtype, std::uint64_t scheduler_seed) {
  auto const scheduler = cpu::make_cooperative_scheduler(scheduler_seed);
  if (dtype == DType::f32) return support::combined_codes<float>(batch, run, *scheduler);
  if (dtype == DType::bf16) return support::combined_codes<bf16_t>(batch, run, *scheduler);
  return support::combined_codes<f16_t>(batch, run, *scheduler);
}

Codes oracle_codes(RecipeBatch const& batch, RecipeRun const& run, DType dtype) {
  if (dtype == DType::f32) return support::expected_codes<float>(batch, run);
  if (dtype == DType::bf16) return support::expected_codes<bf16_t>(batch, run);
  return support::expected_codes<f16_t>(batch, run);
}

RecipeRun make_run(CombineRecipe const& recipe, ExpertParallelGrid grid = {1, 4},
                   Dispatcher dispatcher = Dispatcher::allgather) {
  RecipeRun run;
  run.recipe = recipe;
  run.grid = grid;
  run.dispatcher = dispatcher;
  return run;
}

/// Recipes that are one arithmetic for this dtype (docs/determinism/recipes.md).
bool are_one_arithmetic(std::string const& a, std::string const& b, DType dtype) {
  std::pair<std::string, std::string> const pair = std::minmax(a, b);
  using Pair = std::pair<std::string, std::string>;
  if (pair == Pair{"megatron_allgather", "rank_partial_f32"}) return true;  // TP 1, fp32 weights
  if (dtype == DType::f32)
    return pair == Pair{"megablocks", "source_slot_order"} || pair == Pair{"rank_partial", "rank_partial_f32"} ||
           pair == Pair{"megatron_allgather", "rank_partial"};
  return dtype == DType::bf16 && pair == Pair{"rank_partial", "rank_partial_bf16"};
}

std::map<std::string, CombineRecipe> all_recipes() {
  std::map<std::string, CombineRecipe> recipes;
  for (auto const name : recipe_names())
    if (name != "exact_with_shared_expert") recipes[std::string(name)] = *parse_recipe(name);
  return recipes;
}

/// The data has to tell the recipes apart, or agreement would say nothing.
void require_recipes_differ(RecipeBatch const& batch, DType dtype) {
  std::map<std::string, Codes> codes;
  for (auto const& [name, recipe] : all_recipes()) codes[name] = oracle_codes(batch, make_run(recipe), dtype);
  for (auto const& entry_a : codes)
    for (auto const& entry_b : codes) {
      std::string const& a = entry_a.first;
      std::string const& b = entry_b.first;
      if (a >= b) continue;
      CAPTURE(a);
      CAPTURE(b);
      if (are_one_arithmetic(a, b, dtype)) {
        CHECK(differences(entry_a.second, entry_b.second) == 0);
      } else {
        REQUIRE(differences(entry_a.second, entry_b.second) > 0);
      }
    }
}

/// One swapped pair of additions in the slot order must show.
void require_swap_is_noticed(RecipeBatch const& batch) {
  int noticed = 0;
  for (int token = 0; token < batch.tokens; ++token)
    for (std::int64_t column = 0; column < batch.hidden; ++column) {
      auto terms = support::terms_of<float>(batch, make_run({}), token, column, false);
      auto const before = oracle::source_slot_order(terms, oracle::kFormatF32);
      std::swap(terms[2].slot, terms[3].slot);
      noticed += oracle::source_slot_order(terms, oracle::kFormatF32) != before ? 1 : 0;
    }
  REQUIRE(noticed > 0);
}

void check_exact_everywhere(RecipeBatch const& batch, DType dtype, bool weights_f64, SharedExpert shared) {
  RecipeRun run = make_run(CombineRecipe::exact(shared));
  run.weights_f64 = weights_f64;
  run.shared_expert = shared == SharedExpert::as_term;
  Codes const expected = oracle_codes(batch, run, dtype);
  for (auto const grid : support::kRecipeGrids)
    for (Dispatcher const dispatcher : support::kDispatchers)
      for (auto const route : {CombineRoute::rows, CombineRoute::partials}) {
        if (route == CombineRoute::partials && !reduces_at_experts(dispatcher)) continue;
        run.grid = grid;
        run.dispatcher = dispatcher;
        run.route = route;
        CAPTURE(std::string(support::name_of(dispatcher)));
        CAPTURE(grid.tp);
        CAPTURE(grid.ep);
        CAPTURE(static_cast<int>(route));
        CHECK(differences(run_once(batch, run, dtype, batch.seed), expected) == 0);
      }
}

/// One recipe, grid and kind of weights through every dispatcher and route that offers it: the same bits everywhere.
void check_dispatchers(RecipeBatch const& batch, RecipeRun run, DType dtype) {
  Codes const expected = oracle_codes(batch, run, dtype);
  bool const needs_partials = run.recipe.tp_join == TpJoin::as_ranks;
  for (Dispatcher const dispatcher : support::kDispatchers) {
    bool const by_partials = run.recipe.multiply == MultiplyAt::expert_rank && reduces_at_experts(dispatcher);
    CAPTURE(std::string(support::name_of(dispatcher)));
    run.dispatcher = dispatcher;
    if (by_partials || !needs_partials) {
      run.route = CombineRoute::automatic;
      CHECK(differences(run_once(batch, run, dtype, 3), expected) == 0);
    }
    if (by_partials && !needs_partials) {
      run.route = CombineRoute::rows;
      CHECK(differences(run_once(batch, run, dtype, 3), expected) == 0);
    }
  }
}

RecipeBatch batch_of(std::uint64_t seed) {
  RecipeBatch batch;
  batch.seed = seed;
  return batch;
}

}  // namespace

TEST_CASE("exact is one result for all dispatchers, grids and routes, and the big-integer sum") {
  for (auto const dtype : {DType::bf16, DType::f32, DType::f16})
    for (std::uint64_t const seed : {11u, 12u}) {
      CAPTURE(std::string(to_string(dtype)));
      CAPTURE(seed);
      RecipeBatch const batch = batch_of(seed);
      require_recipes_differ(batch, dtype);
      require_swap_is_noticed(batch);
      check_exact_everywhere(batch, dtype, false, SharedExpert::after_rounding);
    }
}

TEST_CASE("exact takes fp64 weights and a shared expert as exact terms") {
  for (auto const dtype : {DType::bf16, DType::f32}) {
    CAPTURE(std::string(to_string(dtype)));
    RecipeBatch batch = batch_of(13);
    batch.hidden = 12;
    RecipeRun run = make_run(CombineRecipe::exact());
    Codes const plain = oracle_codes(batch, run, dtype);
    run.weights_f64 = true;
    REQUIRE(differences(oracle_codes(batch, run, dtype), plain) > 0);  // the low bits of the weights matter
    check_exact_everywhere(batch, dtype, true, SharedExpert::after_rounding);
    check_exact_everywhere(batch, dtype, false, SharedExpert::as_term);
  }
}

TEST_CASE("every recipe equals its plain loops wherever a plan supports it") {
  RecipeBatch batch = batch_of(14);
  batch.hidden = 8;
  for (auto const dtype : {DType::bf16, DType::f32, DType::f16})
    for (auto const grid : support::kRecipeGrids)
      for (auto const& named : all_recipes())
        for (bool const weights_f64 : {false, true}) {
          CombineRecipe const& recipe = named.second;
          if (named.first == "exact" || (weights_f64 && dtype != DType::bf16)) continue;
          RecipeRun run = make_run(recipe, grid);
          run.weights_f64 = weights_f64;
          CAPTURE(named.first);
          CAPTURE(std::string(to_string(dtype)));
          CAPTURE(grid.tp);
          CAPTURE(grid.ep);
          CAPTURE(weights_f64);
          check_dispatchers(batch, run, dtype);
        }
}

TEST_CASE(
    "one swapped addition changes the bits of every ordered recipe, through every dispatcher, and never exact's") {
  RecipeBatch batch = batch_of(17);
  batch.hidden = 16;
  RecipeBatch slots = batch;
  slots.swap_slots = true;
  RecipeBatch inside = batch;
  inside.swap_experts = 15;  // of the only rank: the order inside its sum is reversed
  RecipeBatch ranks = batch;
  ranks.swap_experts = 4;  // of neighbouring ranks: the order of their partials
  for (auto const& named : all_recipes()) {
    CombineRecipe const& recipe = named.second;
    CAPTURE(named.first);
    // Two terms commute, so every sum needs more: of one rank's experts, and of four ranks.
    Codes const on_one = oracle_codes(batch, make_run(recipe, {1, 1}), DType::f32);
    Codes const on_four = oracle_codes(batch, make_run(recipe, {1, 4}), DType::f32);
    for (Dispatcher const dispatcher : support::kDispatchers) {
      if (recipe.tp_join == TpJoin::as_ranks && !reduces_at_experts(dispatcher)) continue;
      CAPTURE(std::string(support::name_of(dispatcher)));
      auto const changes = [&](RecipeBatch const& mutant, int ep) {
        auto const codes = run_once(mutant, make_run(recipe, {1, ep}, dispatcher), DType::f32, 0);
        return differences(codes, ep == 1 ? on_one : on_four) > 0;
      };
      bool const by_expert = recipe.order == SumOrder::source_expert || recipe.order == SumOrder::rank_then_expert;
      CHECK(changes(slots, 4) == (recipe.order == SumOrder::source_slot));
      CHECK(changes(inside, 1) == by_expert);
      CHECK(changes(ranks, 4) == by_expert);
    }
  }
}

TEST_CASE("rank sums follow the placement, sums at the source do not") {
  RecipeBatch const batch = batch_of(15);
  auto const differ = [&](CombineRecipe const& recipe) {
    return differences(run_once(batch, make_run(recipe, {1, 2}), DType::bf16, 0),
                       run_once(batch, make_run(recipe, {1, 8}), DType::bf16, 0)) > 0;
  };
  CHECK(differ(CombineRecipe::rank_partial()));
  CHECK(differ(CombineRecipe::megatron_allgather()));
  for (auto const& recipe : {CombineRecipe::source_slot_order(), CombineRecipe::source_expert_order(),
                             CombineRecipe::megablocks(), CombineRecipe::exact()})
    CHECK_FALSE(differ(recipe));
}

TEST_CASE("workers, threads and interleavings change no bit") {
  RecipeBatch batch = batch_of(16);
  batch.hidden = 1030;
  for (Dispatcher const dispatcher : {Dispatcher::allgather, Dispatcher::flex})
    for (auto const& named : all_recipes()) {
      std::string const& name = named.first;
      CombineRecipe const& recipe = named.second;
      RecipeRun run = make_run(recipe, {2, 2}, dispatcher);
      if (name == "exact") run.route = CombineRoute::partials;
      CAPTURE(name);
      Codes const expected = run_once(batch, run, DType::bf16, 0);
      for (int const workers : {1, 2, 7}) {
        CAPTURE(workers);
        cpu::set_worker_count(workers);
        auto const threads = cpu::make_thread_scheduler();
        CHECK(differences(support::combined_codes<bf16_t>(batch, run, *threads), expected) == 0);
      }
      cpu::set_worker_count(0);
      for (std::uint64_t const seed : {5u, 6u}) {
        CAPTURE(seed);
        CHECK(differences(run_once(batch, run, DType::bf16, seed), expected) == 0);
      }
    }
}
