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
  bool const sums_ranks = recipe.multiply == MultiplyAt::expert_rank;
  bool const by_partials = sends_partials(plan, recipe, route);
  if (!exact && !sums_ranks && by_partials)
    return refused(fmt::format("{} rounds at the source rank only, so sums of a rank cannot give its bits", name));
  if (!by_partials && recipe.tp_join == TpJoin::as_ranks)
    return refused(
        fmt::format("{} adds the results of TP ranks and hidden shards one by one, but single rows are joined on their "
                    "way ({}): use an AllGather or Flex plan and let it send partials",
                    name, to_string(plan.setup.family)));
  if (by_partials && !reduces_at_experts(plan.setup.family))
    return refused(
        fmt::format("partials of {} need one row per (rank, token) on the wire, {} moves one per (token, slot): let "
                    "single rows return, or use an AllGather or Flex plan",
                    name, to_string(plan.setup.family)));
  if (by_partials && plan.setup.restore == ChunkRestore::megatron_seed)
    return refused("the seed's defective sort is defined for single rows only");
  return {};
}

void require_supported(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route) {
  auto const support = recipe_support(plan, recipe, route);
  SWITCHYARD_REQUIRE(support.supported, unsupported, "combine recipe {}: {}", to_string(recipe), support.reason);
}

bool sends_partials(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route) noexcept {
  if (route != CombineRoute::automatic) return route == CombineRoute::partials;
  return recipe.multiply == MultiplyAt::expert_rank && reduces_at_experts(plan.setup.family);
}

}  // namespace switchyard
