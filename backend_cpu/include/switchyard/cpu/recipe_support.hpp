// SPDX-License-Identifier: Apache-2.0
/// RecipeSupport: whether a plan can be combined by a recipe, and why not.
#pragma once

#include <string>

#include "switchyard/cpu/combine_inputs.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::cpu {

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

}  // namespace switchyard::cpu
