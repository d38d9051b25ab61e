// SPDX-License-Identifier: Apache-2.0
// Recipes that sum single rows at the source rank, and what all recipes share.
#include "combine_recipes.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "by_dtype.hpp"
#include "switchyard/cpu/recipe_support.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/recipes_exact.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

bool is_exact(CombineRecipe const& recipe) {
  return recipe.accumulate == Rounding::none;
}

/// The terms of every token in the order they are added.
template <typename Weight>
struct TermLists {
  std::vector<std::int64_t> const* row_begin;
  std::vector<std::int64_t> rows;
  std::vector<Weight> weights;
};

template <typename Body>
void for_tokens(StageContext const& context, RowGather const& gather, ConstRows rows, Body const& body) {
  auto const tokens = static_cast<std::int64_t>(gather.row_begin.size()) - 1;
  std::int64_t const rows_per_token = tokens == 0 ? 0 : rows.count / tokens;
  for_items(tokens, (rows_per_token + 1) * context.hidden * static_cast<std::int64_t>(sizeof(float)),
            [&](std::int64_t begin, std::int64_t end) {
              for (std::int64_t token = begin; token < end; ++token) body(token);
            });
}

template <typename T, typename Weight>
void sum_exactly(StageContext const& context, RowGather const& gather, ConstRows rows,
                 std::vector<Weight> const& weights, T const* shared, T* out) {
  for_tokens(context, gather, rows, [&](std::int64_t token) {
    std::int64_t const first = gather.row_begin[to_size(token)];
    std::int64_t const count = gather.row_begin[to_size(token) + 1] - first;
    hd::exact_row<T>(reinterpret_cast<T const*>(rows.data), context.hidden, context.hidden,
                     gather.rows_of_token.data() + first, weights.data() + first, count, out + token * context.hidden,
                     shared == nullptr ? nullptr : shared + token * context.hidden);
  });
}

template <typename T>
void sum_row_products(StageContext const& context, RowGather const& gather, ConstRows rows,
                      std::vector<float> const& weights, T* out) {
  for_tokens(context, gather, rows, [&](std::int64_t token) {
    std::int64_t const first = gather.row_begin[to_size(token)];
    hd::combine_row<T, T, hd::RowProduct>(reinterpret_cast<T const*>(rows.data), context.hidden, context.hidden,
                                          gather.rows_of_token.data() + first, weights.data() + first,
                                          gather.row_begin[to_size(token) + 1] - first, out + token * context.hidden);
  });
}

/// The logical expert of a row of `gather`.
std::int32_t expert_of_row(DispatchPlan const& plan, RowGather const& gather, std::span<std::int32_t const> experts,
                           std::int64_t row) {
  std::int64_t const token = gather.token_of_row[to_size(row)];
  std::int64_t const slot = gather.slot_of_row[to_size(row)];
  if (experts.empty()) return static_cast<std::int32_t>(slot);
  std::int32_t const expert = experts[to_size(token * plan.slot_columns + slot)];
  SWITCHYARD_REQUIRE(
      expert >= 0 && expert < plan.setup.num_experts, invalid_argument,
      "token {}, slot {} on rank {} was sent, but its expert is given as {} of {}: pass the ids that the "
      "plan was made from",
      token, slot, plan.rank.value(), expert, plan.setup.num_experts);
  return expert;
}

/// `gather` with the rows of every token by logical expert ascending, equal ones by slot.
RowGather ordered_by_expert(DispatchPlan const& plan, RowGather gather, std::span<std::int32_t const> experts) {
  auto const expected = checked_mul(plan.num_tokens, plan.slot_columns);
  bool const dense = experts.empty() && plan.slot_columns == plan.setup.num_experts;
  SWITCHYARD_REQUIRE(dense || static_cast<std::int64_t>(experts.size()) == expected, shape_mismatch,
                     "rank {} combines in expert order with {} expert ids: {} tokens x {} slots need {}",
                     plan.rank.value(), experts.size(), plan.num_tokens, plan.slot_columns, expected);
  std::vector<std::int32_t> expert_of(gather.token_of_row.size(), -1);
  for (std::int64_t const row : gather.rows_of_token)
    expert_of[to_size(row)] = expert_of_row(plan, gather, experts, row);
  for (std::size_t token = 0; token + 1 < gather.row_begin.size(); ++token) {
    auto const begin = gather.rows_of_token.begin() + gather.row_begin[token];
    auto const end = gather.rows_of_token.begin() + gather.row_begin[token + 1];
    std::stable_sort(begin, end,
                     [&](std::int64_t a, std::int64_t b) { return expert_of[to_size(a)] < expert_of[to_size(b)]; });
  }
  return gather;
}

template <typename T>
T const* shared_term(CombineRecipe const& recipe, CombineInputs const& inputs) {
  bool const is_term = recipe.shared_expert == SharedExpert::as_term && inputs.shared_expert.has_value();
  return is_term ? static_cast<T const*>(inputs.shared_expert->data()) : nullptr;
}

template <typename T>
void exact_at_source(StageContext const& context, CombineRecipe const& recipe, RowGather const& gather, ConstRows rows,
                     CombineInputs const& inputs, T* out) {
  T const* const shared = shared_term<T>(recipe, inputs);
  if (!inputs.weights_f64.has_value())
    return sum_exactly(context, gather, rows, weights_of_rows(context.plan, gather, inputs.weights), shared, out);
  sum_exactly(context, gather, rows, weights_of_rows(context.plan, gather, *inputs.weights_f64), shared, out);
}

}  // namespace

void require_supported(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route) {
  auto const support = recipe_support(plan, recipe, route);
  SWITCHYARD_REQUIRE(support.supported, unsupported, "combine recipe {}: {}", to_string(recipe), support.reason);
}

bool sends_partials(CombineRecipe const& recipe, CombineRoute route) noexcept {
  return recipe.multiply == MultiplyAt::expert_rank || (is_exact(recipe) && route == CombineRoute::partials);
}

std::uint64_t with_recipe(std::uint64_t configuration, CombineRecipe const& recipe, CombineInputs const& inputs) {
  std::int64_t const fields[] = {static_cast<std::int64_t>(configuration),
                                 static_cast<std::int64_t>(recipe.order),
                                 static_cast<std::int64_t>(recipe.multiply),
                                 static_cast<std::int64_t>(recipe.product),
                                 static_cast<std::int64_t>(recipe.accumulate),
                                 static_cast<std::int64_t>(recipe.partial),
                                 static_cast<std::int64_t>(inputs.weights_f64.has_value()),
                                 static_cast<std::int64_t>(sends_partials(recipe, inputs.route))};
  FingerprintBuilder builder;
  builder.add(1, fields);
  return builder.result().value;
}

template <typename Weight>
std::vector<Weight> weights_of_rows(DispatchPlan const& plan, RowGather const& gather,
                                    std::span<Weight const> weights) {
  auto const expected = checked_mul(plan.num_tokens, plan.slot_columns);
  SWITCHYARD_REQUIRE(static_cast<std::int64_t>(weights.size()) == expected, shape_mismatch,
                     "rank {} combines with {} weights: {} tokens x {} slots need {}", plan.rank.value(),
                     weights.size(), plan.num_tokens, plan.slot_columns, expected);
  std::vector<Weight> result(gather.rows_of_token.size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    auto const row = to_size(gather.rows_of_token[i]);
    auto const token = gather.token_of_row[row];
    auto const slot = gather.slot_of_row[row];
    result[i] = weights[to_size(token * plan.slot_columns + slot)];
    SWITCHYARD_REQUIRE(!std::isnan(result[i]), invalid_argument,
                       "weight of token {}, slot {} on rank {} is NaN: mask the token with -1 or fix the router", token,
                       slot, plan.rank.value());
  }
  return result;
}
template std::vector<float> weights_of_rows(DispatchPlan const&, RowGather const&, std::span<float const>);
template std::vector<double> weights_of_rows(DispatchPlan const&, RowGather const&, std::span<double const>);

std::vector<float> rounded_weights(std::span<double const> weights) {
  std::vector<float> rounded(weights.size());
  std::transform(weights.begin(), weights.end(), rounded.begin(),
                 [](double weight) { return hd::narrow_double<float>(weight); });
  return rounded;
}

std::vector<float> float_weights(DispatchPlan const& plan, RowGather const& gather, CombineInputs const& inputs) {
  if (!inputs.weights_f64.has_value()) return weights_of_rows(plan, gather, inputs.weights);
  return rounded_weights(weights_of_rows(plan, gather, *inputs.weights_f64));
}

void sum_at_source(StageContext const& context, CombineRecipe const& recipe, RowGather const& gather, ConstRows rows,
                   DType dtype, CombineInputs const& inputs, std::byte* out) {
  if (is_exact(recipe)) {
    return by_dtype(dtype, [&](auto zero) {
      exact_at_source(context, recipe, gather, rows, inputs, reinterpret_cast<decltype(zero)*>(out));
    });
  }
  if (recipe.order == SumOrder::source_expert) {
    RowGather const ordered = ordered_by_expert(context.plan, gather, inputs.experts);
    return combine_rows(context, ordered, rows, dtype, float_weights(context.plan, ordered, inputs), out);
  }
  auto const weights = float_weights(context.plan, gather, inputs);
  if (recipe.product == Rounding::f32) return combine_rows(context, gather, rows, dtype, weights, out);
  by_dtype(dtype, [&](auto zero) {
    sum_row_products(context, gather, rows, weights, reinterpret_cast<decltype(zero)*>(out));
  });
}

void add_shared_rows(StageContext const& context, CombineRecipe const& recipe, CombineInputs const& inputs,
                     TensorView out) {
  if (!inputs.shared_expert.has_value() || recipe.shared_expert == SharedExpert::as_term) return;
  by_dtype(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    auto const* const shared = static_cast<T const*>(inputs.shared_expert->data());
    auto* const sums = static_cast<T*>(out.data());
    for_items(out.extent(0), context.hidden * static_cast<std::int64_t>(sizeof(T)),
              [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin * context.hidden; i < end * context.hidden; ++i)
                  sums[i] = hd::add_shared_expert(sums[i], shared[i]);
              });
  });
}

}  // namespace switchyard::cpu
