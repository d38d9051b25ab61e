// SPDX-License-Identifier: Apache-2.0
/// One rank of the recipe batch (support/recipe_batch.hpp) on CpuExecutor and CudaExecutor; how ranks are run is the
/// caller's.
#pragma once

#include <string>
#include <vector>

#include "executor_pair.hpp"
#include "support/dispatch_family_run.hpp"
#include "support/recipe_batch.hpp"

namespace cross_backend {

using namespace switchyard;  // NOLINT: test cases read like the library
using support::Dispatcher;
using support::RecipeBatch;
using support::RecipeRun;

/// Every recipe that the plan offers, on every route that differs, with f32 and with f64 weights, a shared expert and
/// rows of the tokens' dtype; and both gradients by every recipe. @param out_gradients [T, hidden]
template <typename T>
void combine_all(ExecutorPair& pair, DispatchPlan const& plan, PairOperands<T>& operands,
                 std::vector<T> const& out_gradients, std::int64_t hidden, std::string const& base) {
  bool const joins = plan.setup.grid.tp > 1 || plan.setup.hidden_shards > 1;
  for (auto const name : recipe_names()) {
    CombineRecipe const recipe = *parse_recipe(name);
    for (auto const route : {CombineRoute::automatic, CombineRoute::partials, CombineRoute::rows}) {
      if (!recipe_support(plan, recipe, route)) continue;
      bool const as_automatic =
          sends_partials(plan, recipe, route) == sends_partials(plan, recipe, CombineRoute::automatic);
      if (route != CombineRoute::automatic && as_automatic) continue;
      for (bool const f64 : {false, true}) {
        operands.use_f64 = f64;
        operands.use_shared = f64 || name == "exact_with_shared_expert";
        operands.narrow_rows = !joins && f64;
        pair.rename(base + " " + std::string(name) + (f64 ? " f64" : " f32") +
                    (route == CombineRoute::partials ? " partials"
                     : route == CombineRoute::rows   ? " rows"
                                                     : ""));
        pair.combine(recipe, route, operands, hidden);
      }
    }
    if (!recipe_support(plan, recipe, CombineRoute::automatic)) continue;
    pair.rename(base + " " + std::string(name));
    pair.backward(recipe, operands, out_gradients, hidden);
  }
}

/// One dtype of one rank through all recipes, with one plan and one pair of executors.
template <typename T>
void check_recipes(RecipeBatch const& batch, RecipeRun run, support::RankBatch const& part, DispatchPlan const& plan,
                   ExecutorPair& pair, std::string const& base) {
  std::vector<float> names;
  for (int token = 0; token < part.count; ++token) names.push_back(static_cast<float>(1 + part.first + token));
  pair.rename(base);
  auto const payload = pair.dispatch(names, 1);
  PairOperands<T> operands;
  operands.expert_rows = support::expert_rows<T>(batch, run, plan, payload);
  operands.weights.assign(part.routing.weights().begin(), part.routing.weights().end());
  operands.weights_f64 = part.weights;
  std::vector<T> gradients;
  for (int token = 0; token < part.count; ++token)
    for (std::int64_t column = 0; column < batch.hidden; ++column) {
      operands.shared.push_back(support::shared_element<T>(batch, part.first + token, column));
      gradients.push_back(support::shared_element<T>(batch, part.first + token + 100, column));
    }
  combine_all(pair, plan, operands, gradients, batch.hidden, base);
}

inline void recipe_rank(PairReport& report, RecipeBatch const& batch, RecipeRun const& run, cuda::ReceiveLayout layout,
                        std::string const& name, Communicator& comm, cuda::DeviceCommunicator& device_comm) {
  auto const part = support::rank_batch(batch, run, comm.rank().value());
  auto const placement = ExpertPlacement::contiguous(1, batch.experts, run.grid.ep);
  auto const plan = support::plan_of(run, comm, part.routing, placement);
  std::vector<std::int32_t> const ids(part.routing.ids().begin(), part.routing.ids().end());
  ExecutorPair pair(report, name, plan, placement, {layout, ids}, comm, device_comm);
  check_recipes<float>(batch, run, part, plan, pair, name + " f32");
  check_recipes<bf16_t>(batch, run, part, plan, pair, name + " bf16");
  check_recipes<f16_t>(batch, run, part, plan, pair, name + " f16");
}

}  // namespace cross_backend
