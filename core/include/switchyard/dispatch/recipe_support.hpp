// SPDX-License-Identifier: Apache-2.0
/// RecipeSupport: whether a plan can be combined by a recipe, on which route, and why not. Equal for every executor.
#pragma once

#include <cstdint>
#include <string>

#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

/// How results travel. Recipes whose sum is exact may take either way and give the same bits on both; every other
/// recipe names its way (CombineRecipe::multiply).
enum class CombineRoute : std::uint8_t {
  automatic,  ///< as the recipe says; for exact sums by rows
  rows,       ///< every expert row returns to its source rank
  partials,   ///< each rank adds its own experts and sends one partial per token
};

/// `reason` is one sentence and empty when `supported`.
struct RecipeSupport {
  bool supported = true;
  std::string reason;
  explicit operator bool() const noexcept { return supported; }
};

/// The only place that decides it. Recipes that sum at the source need single rows, which every family can return;
/// recipes that sum at the expert rank need a family whose wire carries one row per (rank, token): AllGather and Flex.
/// @note pure; depends on the plan's family and the recipe only, so all ranks get the same answer.
[[nodiscard]] RecipeSupport recipe_support(DispatchPlan const& plan, CombineRecipe const& recipe,
                                           CombineRoute route = CombineRoute::automatic);

/// @throws Error{unsupported} with the reason.
void require_supported(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route);

/// @return whether the results travel as one partial per (rank, token). Pure.
[[nodiscard]] bool sends_partials(CombineRecipe const& recipe, CombineRoute route) noexcept;

}  // namespace switchyard
