// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/recipe_support.hpp"

#include <utility>

#include "switchyard/internal/require.hpp"

namespace switchyard {
namespace {

RecipeSupport refused(std::string reason) {
  return {false, std::move(reason)};
}

bool reduces_at_experts(DispatchFamily family) {
  return family == DispatchFamily::megatron_allgather || family == DispatchFamily::megatron_flex;
}

}  // namespace

RecipeSupport recipe_support(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route) {
  auto const name = name_of(recipe);
  if (name == "custom")
    return refused("a recipe without a name is not executed: build it from the named ones (recipe_names())");
  bool const exact = recipe.accumulate == Rounding::none;
  bool const names_partials = recipe.multiply == MultiplyAt::expert_rank;
  if (names_partials && route == CombineRoute::rows)
    return refused(fmt::format("{} rounds at the expert rank, so single rows cannot give its bits", name));
  if (!exact && !names_partials && route == CombineRoute::partials)
    return refused(fmt::format("{} rounds at the source rank only, so sums of a rank cannot give its bits", name));
  bool const by_partials = names_partials || (exact && route == CombineRoute::partials);
  if (by_partials && !reduces_at_experts(plan.setup.family))
    return refused(
        fmt::format("{} sends one partial per (rank, token), {} moves one row per (token, slot): use an AllGather or "
                    "Flex plan, or a recipe that sums at the source",
                    name, to_string(plan.setup.family)));
  if (by_partials && plan.setup.restore == ChunkRestore::megatron_seed)
    return refused("the seed's defective sort is defined for single rows only");
  return {};
}

void require_supported(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route) {
  auto const support = recipe_support(plan, recipe, route);
  SWITCHYARD_REQUIRE(support.supported, unsupported, "combine recipe {}: {}", to_string(recipe), support.reason);
}

bool sends_partials(CombineRecipe const& recipe, CombineRoute route) noexcept {
  bool const exact = recipe.accumulate == Rounding::none;
  return recipe.multiply == MultiplyAt::expert_rank || (exact && route == CombineRoute::partials);
}

}  // namespace switchyard
