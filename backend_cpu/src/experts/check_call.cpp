// SPDX-License-Identifier: Apache-2.0
#include "check_call.hpp"

#include <algorithm>

#include "switchyard/internal/expert_operands.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {
void require_matrix(ConstTensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns) {
  internal::require_matrix(view, name, rows, columns, MemorySpace::host);
}

std::int64_t check_blocks(ExpertMlp const& mlp, std::span<RowBlock const> blocks, std::int64_t rows) {
  SWITCHYARD_REQUIRE(static_cast<int>(blocks.size()) == mlp.num_local_experts, shape_mismatch,
                     "{} blocks of rows for {} local experts", blocks.size(), mlp.num_local_experts);
  std::int64_t largest = 0;
  for (RowBlock const& block : blocks) {
    SWITCHYARD_REQUIRE(block.rows == 0 || (block.first_row >= 0 && block.rows > 0 && block.first_row <= rows &&
                                           block.rows <= rows - block.first_row),
                       invalid_argument, "local expert {} has rows [{}, +{}) of a matrix with {} rows",
                       &block - blocks.data(), block.first_row, block.rows, rows);
    largest = std::max(largest, block.rows);
  }
  return largest;
}

void check_weights(ExpertMlp const& mlp, ExpertWeights const& weights) {
  internal::require_weights(mlp, weights, MemorySpace::host);
}

std::int64_t check_call(ExpertMlp const& mlp, ExpertCall const& call) {
  std::int64_t const rows = call.row_codes != nullptr ? call.row_codes->rows : internal::matrix_rows(call.rows);
  std::int64_t const largest = check_blocks(mlp, call.blocks, rows);
  check_weights(mlp, call.weights);
  if (call.row_codes != nullptr) {
    internal::require_codes({call.row_codes, 1}, "row_codes", 1, rows, mlp.hidden);
    SWITCHYARD_REQUIRE(call.row_weights.empty(), unsupported,
                       "router weights on rows that are quantised already: multiply before quantising");
  } else {
    require_matrix(call.rows, "rows", rows, mlp.hidden);
    SWITCHYARD_REQUIRE(rows == 0 || call.rows.dtype() == mlp.dtype, shape_mismatch,
                       "rows are {}, the experts compute on {}", to_string(call.rows.dtype()), to_string(mlp.dtype));
  }
  require_matrix(call.output, "output", rows, mlp.hidden);
  DType const wanted = mlp.tp.size == 1 ? mlp.dtype : DType::f32;
  SWITCHYARD_REQUIRE(rows == 0 || call.output.dtype() == wanted, shape_mismatch, "output is {}, wanted {} (TP size {})",
                     to_string(call.output.dtype()), to_string(wanted), mlp.tp.size);
  SWITCHYARD_REQUIRE(call.row_weights.empty() || static_cast<std::int64_t>(call.row_weights.size()) == rows,
                     shape_mismatch, "{} router weights for {} rows", call.row_weights.size(), rows);
  return largest;
}

}  // namespace switchyard::cpu
