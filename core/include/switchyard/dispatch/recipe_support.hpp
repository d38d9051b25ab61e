// SPDX-License-Identifier: Apache-2.0
/// RecipeSupport: whether a plan can be combined by a recipe, on which route, and why not. Equal for every executor.
#pragma once

#include <cstdint>
#include <string>

#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

/// How results travel. Exact sums, and rank_partial, give the same bits on both ways; megatron_allgather needs
/// partials, every other recipe rows.
enum class CombineRoute : std::uint8_t {
  automatic,  ///< rows; partials for recipes that sum at the experts' rank (MultiplyAt::expert_rank) where the wire
              ///< carries one row per (rank, token)
  rows,       ///< every expert row returns to its source rank
  partials,   ///< each rank adds its own experts and sends one partial per token
};

/// `reason` is one sentence and empty when `supported`.
struct RecipeSupport {
  bool supported = true;
  std::string reason;
  explicit operator bool() const noexcept { return supported; }
};

/// The only place that decides it. Single rows, which every family can return, serve all recipes but
/// megatron_allgather: it adds the results of TP ranks and hidden shards as they are, which are joined on the way of
/// single rows. Partials need a family whose wire carries one row per (rank, token): AllGather and Flex.
/// @note pure; depends on the plan's setup and the recipe only, so all ranks get the same answer.
[[nodiscard]] RecipeSupport recipe_support(DispatchPlan const& plan, CombineRecipe const& recipe,
                                           CombineRoute route = CombineRoute::automatic);

/// @throws Error{unsupported} with the reason.
void require_supported(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route);

/// @return whether the results travel as one partial per (rank, token). Pure.
[[nodiscard]] bool sends_partials(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route) noexcept;

}  // namespace switchyard
