// SPDX-License-Identifier: Apache-2.0
/// The experts' second bias on a combine whose rows are TP partials: it belongs to the joined row, so the experts of
/// rows are followed backwards to the TP rank that joins them. Pure functions; host integers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "path_steps.hpp"
#include "switchyard/cuda/cuda_executor.hpp"

namespace switchyard::cuda {

/// @throws as the CPU's: Error{invalid_argument} where no TP partials are joined, Error{unsupported} for a recipe that
/// joins none, Error{shape_mismatch} unless the bias is [local experts, H] in device memory.
void require_join_bias(DispatchPlan const& plan, CombineRecipe const& recipe, CombineInputs const& inputs,
                       std::int64_t hidden);

/// @param steps from this rank's expert rows to where TP partials are added, or further
/// @return the local expert of every row that the first TreeStep of `steps` makes: rows of this rank's own experts,
/// which their TP group holds alike. Empty where nothing is joined.
[[nodiscard]] std::vector<std::int32_t> experts_of_joined_rows(DispatchPlan const& plan,
                                                               std::span<PathStep const> steps);

/// The steps in which the TP ranks of an expert share the joins of their rows.
[[nodiscard]] std::vector<PathStep> share_steps(DispatchPlan const& plan);

}  // namespace switchyard::cuda
