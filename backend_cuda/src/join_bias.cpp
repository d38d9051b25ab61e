// SPDX-License-Identifier: Apache-2.0
#include "join_bias.hpp"

#include <algorithm>

#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

using Experts = std::vector<std::int32_t>;

Experts experts_of_rows(DispatchPlan const& plan) {
  Experts experts;
  for (std::size_t expert = 0; expert < plan.tokens_per_local_expert.size(); ++expert)
    experts.insert(experts.end(), to_size(plan.tokens_per_local_expert[expert]), static_cast<std::int32_t>(expert));
  return experts;
}

/// Every TP rank gets its rows from all of them, so what this one keeps names the rows that it joins.
Experts kept_by(DispatchPlan const& plan, MoveStep const& reduce, Experts const& experts) {
  Experts kept;
  for (RowBlock const& block : reduce.sends) {
    if (block.peer != plan.rank) continue;
    auto const first = experts.begin() + block.first_row;
    kept.insert(kept.end(), first, first + block.rows);
  }
  return kept;
}

}  // namespace

void require_join_bias(DispatchPlan const& plan, CombineRecipe const& recipe, CombineInputs const& inputs,
                       std::int64_t hidden) {
  if (!inputs.join_bias) return;
  internal::require_join_bias(plan, recipe, inputs.join_bias, hidden, MemorySpace::device);
  DType const dtype = inputs.join_bias->dtype();
  SWITCHYARD_REQUIRE(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, unsupported,
                     "the bias of rank {} is {}: f32, bf16 and f16 are offered", plan.rank.value(), to_string(dtype));
}

std::vector<std::int32_t> experts_of_joined_rows(DispatchPlan const& plan, std::span<PathStep const> steps) {
  Experts experts = experts_of_rows(plan);
  for (PathStep const& step : steps) {
    if (std::holds_alternative<TreeStep>(step)) return experts;
    if (auto const* const map = std::get_if<MapStep>(&step)) {
      Experts mapped(map->map.size());
      std::transform(map->map.begin(), map->map.end(), mapped.begin(),
                     [&](std::int64_t row) { return experts[to_size(row)]; });
      experts = std::move(mapped);
      continue;
    }
    auto const& move = std::get<MoveStep>(step);
    if (move.of_partials) experts = kept_by(plan, move, experts);
  }
  return {};
}

std::vector<PathStep> share_steps(DispatchPlan const& plan) {
  GroupGather const share = internal::share_of_rows(plan, plan.num_expert_rows());
  return {reduce_move(plan, share), TreeStep{share.own_rows, plan.setup.grid.tp}};
}

}  // namespace switchyard::cuda
