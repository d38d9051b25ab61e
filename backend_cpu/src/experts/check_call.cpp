// SPDX-License-Identifier: Apache-2.0
#include "check_call.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

bool is_row_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

/// Rows of a view whose last extent is the row length.
std::int64_t rows_of(ConstTensorView const& view) {
  if (view.data() == nullptr) return 0;
  std::int64_t rows = 1;
  for (int dim = 0; dim + 1 < view.shape().rank(); ++dim) rows *= view.extent(dim);
  return rows;
}

void check_codes(std::span<QuantizedView const> matrices, std::string_view name, std::int64_t experts,
                 std::int64_t rows, std::int64_t columns) {
  SWITCHYARD_REQUIRE(static_cast<std::int64_t>(matrices.size()) == experts, shape_mismatch,
                     "{} holds {} quantised matrices for {} local experts", name, matrices.size(), experts);
  for (QuantizedView const& matrix : matrices) {
    SWITCHYARD_REQUIRE(matrix.rows == rows && matrix.columns == columns, shape_mismatch,
                       "{} of local expert {} is {} x {}, wanted {} x {}", name, &matrix - matrices.data(), matrix.rows,
                       matrix.columns, rows, columns);
    matrix.validate();
  }
}

}  // namespace

void require_matrix(ConstTensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns) {
  if (view.data() == nullptr && (rows == 0 || columns == 0)) return;
  int const rank = view.shape().rank();
  SWITCHYARD_REQUIRE(
      view.data() != nullptr && rank >= 1 && view.shape().contiguous() && view.space() != MemorySpace::device,
      shape_mismatch, "{} must be a contiguous view on host memory of {} x {} elements", name, rows, columns);
  SWITCHYARD_REQUIRE(is_row_dtype(view.dtype()), unsupported, "{} has dtype {}: f32, bf16 and f16 are offered", name,
                     to_string(view.dtype()));
  SWITCHYARD_REQUIRE(view.extent(rank - 1) == columns && rows_of(view) == rows, shape_mismatch,
                     "{} is {} x {}, wanted {} x {}", name, rows_of(view), view.extent(rank - 1), rows, columns);
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
  std::int64_t const experts = mlp.num_local_experts;
  std::int64_t const outputs = mlp.first_layer_outputs();
  if (weights.w1_codes.empty()) {
    require_matrix(weights.w1, "w1", experts * outputs, mlp.hidden);
  } else {
    check_codes(weights.w1_codes, "w1", experts, outputs, mlp.hidden);
  }
  if (weights.w2_codes.empty()) {
    require_matrix(weights.w2, "w2", experts * mlp.hidden, mlp.local_units());
  } else {
    check_codes(weights.w2_codes, "w2", experts, mlp.hidden, mlp.local_units());
  }
  if (weights.b1.data() != nullptr) require_matrix(weights.b1, "b1", experts, outputs);
  if (weights.b2.data() != nullptr) require_matrix(weights.b2, "b2", experts, mlp.hidden);
}

std::int64_t check_call(ExpertMlp const& mlp, ExpertCall const& call) {
  std::int64_t const rows = call.row_codes != nullptr ? call.row_codes->rows : rows_of(call.rows);
  std::int64_t const largest = check_blocks(mlp, call.blocks, rows);
  check_weights(mlp, call.weights);
  if (call.row_codes != nullptr) {
    check_codes({call.row_codes, 1}, "row_codes", 1, rows, mlp.hidden);
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
