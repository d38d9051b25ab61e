// SPDX-License-Identifier: Apache-2.0
/// Checks of an expert call's operands before anything is written.
#pragma once

#include <string_view>

#include "switchyard/experts/experts.hpp"

namespace switchyard::cpu {

/// @throws Error{shape_mismatch} unless the contiguous host view has exactly these extents in its last dimensions
/// (leading dimensions are flattened into `rows`).
void require_matrix(ConstTensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns);
/// @throws as Experts::apply. @return the largest number of rows of an expert
std::int64_t check_call(ExpertMlp const& mlp, ExpertCall const& call);
void check_weights(ExpertMlp const& mlp, ExpertWeights const& weights);
/// @throws Error{invalid_argument} for blocks outside [0, rows) or another count than local experts.
std::int64_t check_blocks(ExpertMlp const& mlp, std::span<RowBlock const> blocks, std::int64_t rows);

}  // namespace switchyard::cpu
