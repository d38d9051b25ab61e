// SPDX-License-Identifier: Apache-2.0
/// The last step of a combine, for every recipe: sums at the source of single rows, or of one partial per rank.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "rank_sum_at_source.hpp"
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

/// @return `configuration` with what the ranks must agree on for this recipe.
[[nodiscard]] std::uint64_t with_recipe(std::uint64_t configuration, DispatchPlan const& plan,
                                        CombineRecipe const& recipe, CombineInputs const& inputs);

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

/// Weight 1 for every slot of the plan, and `inputs` with these weights instead of its own.
[[nodiscard]] std::vector<float> unit_weights(DispatchPlan const& plan);
[[nodiscard]] CombineInputs with_weights(CombineInputs inputs, std::span<float const> weights);

/// @return the gather whose lists say which rows a token of this rank adds.
[[nodiscard]] RowGather const& source_gather(DispatchPlan const& plan);

/// What a recipe makes of single rows at the source, one token per call; wherever the rows lie. Made once per combine,
/// after which calls for different tokens may run at the same time.
class SourceSum {
 public:
  /// @param out [T, H] of `dtype`, as the rows are. All parameters outlive the object.
  /// @throws Error{invalid_argument} for a NaN weight of a row, or experts that do not name one;
  ///         Error{shape_mismatch} for the wrong number of either.
  SourceSum(StageContext const& context, CombineRecipe const& recipe, DType dtype, CombineInputs const& inputs,
            std::byte* out);
  SourceSum(SourceSum const&) = delete;
  SourceSum& operator=(SourceSum const&) = delete;

  [[nodiscard]] std::int64_t num_tokens() const { return static_cast<std::int64_t>(lists_.row_begin.size()) - 1; }
  /// The source rows that a token adds, in the order in which they are added.
  [[nodiscard]] std::span<std::int64_t const> terms(std::int64_t token) const;
  /// Writes a token's sum. @param rows [*, H]; term i is row row_of_term[i]
  void add(std::int64_t token, std::byte const* rows, std::int64_t const* row_of_term) const;

 private:
  std::int64_t hidden_;
  std::int64_t row_bytes_;
  std::optional<SumByRanks> by_ranks_;  ///< instead of sum_, for recipes that round a rank's sum
  std::optional<RowGather> by_expert_;  ///< of recipes in the order of experts
  RowGather const& lists_;
  std::vector<float> weights_{};       ///< parallel to lists_.rows_of_token
  std::vector<double> weights_f64_{};  ///< instead, for exact sums of fp64 weights
  bool doubles_;
  SumToken sum_;
  std::byte const* shared_;
  std::byte* out_;
};

/// All tokens, from rows in the order of the source's gather.
void sum_home_rows(SourceSum const& sum, ConstRows home);

/// Sums at the experts' ranks, sends the partials, sums them at the source. Collective.
/// @param expert_rows of `in_dtype`: f32 or `dtype`. @param out [T, H] of `dtype`
void sum_over_ranks(StageContext const& context, CombineRecipe const& recipe, ConstRows expert_rows, DType in_dtype,
                    DType dtype, CombineInputs const& inputs, std::byte* out, PartialBuffers& buffers);

/// SharedExpert::after_rounding: out = round(out + shared), element by element. Does nothing for as_term.
void add_shared_rows(StageContext const& context, CombineRecipe const& recipe, CombineInputs const& inputs,
                     TensorView out);

}  // namespace switchyard::cpu
