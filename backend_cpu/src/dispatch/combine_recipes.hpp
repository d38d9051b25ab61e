// SPDX-License-Identifier: Apache-2.0
/// The last step of a combine, for every recipe: sums at the source of single rows, or of one partial per rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stages.hpp"
#include "switchyard/cpu/combine_inputs.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"

namespace switchyard::cpu {

/// Scratch memory of the partial route.
struct PartialBuffers {
  ScratchBuffer weights[2];  ///< alternating: a stage reads one and writes the other
  ScratchBuffer rows;
  ScratchBuffer joined;
  ScratchBuffer widened;
  ScratchBuffer partials;
  ScratchBuffer received;
};

/// @throws Error{unsupported} with the reason of recipe_support().
void require_supported(DispatchPlan const& plan, CombineRecipe const& recipe, CombineRoute route);
/// @return whether the results travel as one partial per (rank, token).
[[nodiscard]] bool sends_partials(CombineRecipe const& recipe, CombineRoute route) noexcept;
/// @return `configuration` with what the ranks must agree on for this recipe.
[[nodiscard]] std::uint64_t with_recipe(std::uint64_t configuration, CombineRecipe const& recipe,
                                        CombineInputs const& inputs);

/// The weights in the order of gather.rows_of_token. Weight is float or double.
/// @throws Error{shape_mismatch} for another number of weights, Error{invalid_argument} for a NaN of a row.
template <typename Weight>
[[nodiscard]] std::vector<Weight> weights_of_rows(DispatchPlan const& plan, RowGather const& gather,
                                                  std::span<Weight const> weights);
/// The same for recipes that take fp32 weights, whichever were given.
[[nodiscard]] std::vector<float> float_weights(DispatchPlan const& plan, RowGather const& gather,
                                               CombineInputs const& inputs);
/// All weights rounded to fp32.
[[nodiscard]] std::vector<float> rounded_weights(std::span<double const> weights);

/// Sums single rows at the source. @param rows in the order of `gather`'s rows, of `dtype`, as is `out`.
void sum_at_source(StageContext const& context, CombineRecipe const& recipe, RowGather const& gather, ConstRows rows,
                   DType dtype, CombineInputs const& inputs, std::byte* out);

/// Sums at the experts' ranks, sends the partials, sums them at the source. Collective.
/// @param expert_rows of `in_dtype`: f32 or `dtype`. @param out [T, H] of `dtype`
void sum_over_ranks(StageContext const& context, CombineRecipe const& recipe, ConstRows expert_rows, DType in_dtype,
                    DType dtype, CombineInputs const& inputs, std::byte* out, PartialBuffers& buffers);

/// SharedExpert::after_rounding: out = round(out + shared), element by element. Does nothing for as_term.
void add_shared_rows(StageContext const& context, CombineRecipe const& recipe, CombineInputs const& inputs,
                     TensorView out);

}  // namespace switchyard::cpu
