// SPDX-License-Identifier: Apache-2.0
/// What every backend asks of the operands of an expert call before it writes anything, and the order of the sums over
/// the intermediate units.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "switchyard/experts/experts.hpp"

namespace switchyard::internal {

/// The product of all extents but the last; 0 without data.
[[nodiscard]] std::int64_t matrix_rows(ConstTensorView const& view);
/// Leading extents are flattened into `rows`. An empty matrix needs no data.
/// @param space device, or anything else for memory that the host reads
/// @throws Error{shape_mismatch} unless the view is contiguous there and has exactly these extents, Error{unsupported}
/// unless its dtype is f32, bf16 or f16
void require_matrix(ConstTensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns,
                    MemorySpace space);
/// @throws Error{shape_mismatch} unless there is a matrix of rows x columns per local expert, and as
/// QuantizedView::validate()
void require_codes(std::span<QuantizedView const> matrices, std::string_view name, std::int64_t experts,
                   std::int64_t rows, std::int64_t columns);
/// Plain or coded weights and the biases that are given. @throws as the two above
void require_weights(ExpertMlp const& mlp, ExpertWeights const& weights, MemorySpace space);

/// Rows of w1 in the order of the backward's sums over I: per block its gates, then its ups.
struct UnitOrder {
  std::vector<std::int64_t> rows{};
  std::vector<std::int64_t> ends{};  ///< of the blocks, in positions of that order
};
[[nodiscard]] UnitOrder unit_order(ExpertMlp const& mlp);

}  // namespace switchyard::internal
