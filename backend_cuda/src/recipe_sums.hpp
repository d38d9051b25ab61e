// SPDX-License-Identifier: Apache-2.0
/// What a combine recipe means for the sum kernels: how a rank's sums travel and which steps make and join them.
#pragma once

#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"

namespace switchyard::cuda {

[[nodiscard]] inline bool is_exact(CombineRecipe const& recipe) {
  return recipe.accumulate == Rounding::none;
}

/// The shared expert's rows where the recipe adds them as a term, else null.
[[nodiscard]] inline void const* shared_term(CombineRecipe const& recipe, CombineInputs const& inputs) {
  bool const is_term = recipe.shared_expert == SharedExpert::as_term && inputs.shared_expert.has_value();
  return is_term ? inputs.shared_expert->data() : nullptr;
}

/// How a rank's sums travel.
struct Wire {
  SumStep add = SumStep::fp32_product;
  SumStep join = SumStep::join_f32;
  DType dtype = DType::f32;
  bool weights_f64 = false;
};

[[nodiscard]] inline Wire wire_of(CombineRecipe const& recipe, DType row, bool weights_f64) {
  if (recipe.product == Rounding::promoted && weights_f64)
    return {SumStep::fp64_product, SumStep::join_f64, DType::f64, true};
  if (recipe.partial == Rounding::row) return {SumStep::fp32_product, SumStep::join_f32, row, false};
  if (recipe.partial == Rounding::bf16) return {SumStep::fp32_product, SumStep::join_f32, DType::bf16, false};
  return {};
}

/// The step of a sum at the source rank.
[[nodiscard]] inline SumStep source_step(CombineRecipe const& recipe) {
  return recipe.product == Rounding::f32 ? SumStep::fp32_product : SumStep::row_product;
}

}  // namespace switchyard::cuda
