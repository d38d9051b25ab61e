// SPDX-License-Identifier: Apache-2.0
// Recipes that sum single rows at the source rank, and what all recipes share.
#include "combine_recipes.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "by_dtype.hpp"
#include "switchyard/cpu/recipe_support.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

bool is_exact(CombineRecipe const& recipe) {
  return recipe.accumulate == Rounding::none;
}

std::optional<SumByRanks> sums_by_ranks(DispatchPlan const& plan, CombineRecipe const& recipe, DType dtype,
                                        std::int64_t hidden) {
  if (recipe.order != SumOrder::rank_then_expert) return std::nullopt;
  return SumByRanks(plan, recipe, dtype, hidden);
}

std::optional<RowGather> expert_order(DispatchPlan const& plan, CombineRecipe const& recipe,
                                      CombineInputs const& inputs) {
  if (recipe.order != SumOrder::source_expert) return std::nullopt;
  return internal::ordered_by_expert(plan, source_gather(plan), inputs.experts);
}

SumToken sum_of(CombineRecipe const& recipe, ElementKernels const& kernels, bool doubles) {
  if (is_exact(recipe)) return doubles ? kernels.sum_exactly_f64 : kernels.sum_exactly;
  return recipe.product == Rounding::f32 ? kernels.sum_products : kernels.sum_row_products;
}

/// The shared expert's rows where they are one more term, else null.
std::byte const* shared_terms(CombineRecipe const& recipe, CombineInputs const& inputs) {
  bool const is_term = recipe.shared_expert == SharedExpert::as_term && inputs.shared_expert.has_value();
  return is_term ? static_cast<std::byte const*>(inputs.shared_expert->data()) : nullptr;
}

}  // namespace

std::uint64_t with_recipe(std::uint64_t configuration, DispatchPlan const& plan, CombineRecipe const& recipe,
                          CombineInputs const& inputs) {
  auto const digest = internal::recipe_digest(configuration, recipe, inputs.weights_f64.has_value(),
                                              sends_partials(plan, recipe, inputs.route));
  return inputs.join_bias ? ~digest : digest;  // a bias on some ranks only is a mismatch
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

std::vector<float> unit_weights(DispatchPlan const& plan) {
  return std::vector<float>(to_size(checked_mul(plan.num_tokens, plan.slot_columns)), 1.0f);
}

CombineInputs with_weights(CombineInputs inputs, std::span<float const> weights) {
  inputs.weights = weights;
  inputs.weights_f64.reset();
  inputs.weights_applied = false;
  return inputs;
}

RowGather const& source_gather(DispatchPlan const& plan) {
  return std::get<RowGather>(return_path(plan).front());
}

SourceSum::SourceSum(StageContext const& context, CombineRecipe const& recipe, DType dtype, CombineInputs const& inputs,
                     std::byte* out)
    : hidden_(context.hidden),
      row_bytes_(context.hidden * size_of(dtype)),
      by_ranks_(sums_by_ranks(context.plan, recipe, dtype, context.hidden)),
      by_expert_(expert_order(context.plan, recipe, inputs)),
      lists_(by_ranks_    ? by_ranks_->rows()
             : by_expert_ ? *by_expert_
                          : source_gather(context.plan)),
      doubles_(is_exact(recipe) && inputs.weights_f64.has_value()),
      sum_(sum_of(recipe, kernels_of(context.kernels, dtype), doubles_)),
      shared_(shared_terms(recipe, inputs)),
      out_(out) {
  if (doubles_) {
    weights_f64_ = weights_of_rows(context.plan, lists_, *inputs.weights_f64);
  } else {
    weights_ = float_weights(context.plan, lists_, inputs);
  }
}

std::span<std::int64_t const> SourceSum::terms(std::int64_t token) const {
  std::int64_t const first = lists_.row_begin[to_size(token)];
  return std::span(lists_.rows_of_token).subspan(to_size(first), to_size(lists_.row_begin[to_size(token) + 1] - first));
}

void SourceSum::add(std::int64_t token, std::byte const* rows, std::int64_t const* row_of_term) const {
  std::int64_t const first = lists_.row_begin[to_size(token)];
  if (by_ranks_) return by_ranks_->add(token, rows, row_of_term, weights_.data() + first, out_ + token * row_bytes_);
  void const* const weights = doubles_ ? static_cast<void const*>(weights_f64_.data() + first)
                                       : static_cast<void const*>(weights_.data() + first);
  sum_({rows, hidden_, row_of_term, weights, lists_.row_begin[to_size(token) + 1] - first,
        shared_ == nullptr ? nullptr : shared_ + token * row_bytes_, out_ + token * row_bytes_});
}

void sum_home_rows(SourceSum const& sum, ConstRows home) {
  std::int64_t const tokens = sum.num_tokens();
  std::int64_t const rows_per_token = tokens == 0 ? 0 : home.count / tokens;
  for_items(tokens, (rows_per_token + 1) * home.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t token = begin; token < end; ++token) sum.add(token, home.data, sum.terms(token).data());
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
