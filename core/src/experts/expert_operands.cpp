// SPDX-License-Identifier: Apache-2.0
#include "switchyard/internal/expert_operands.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard::internal {

std::int64_t matrix_rows(ConstTensorView const& view) {
  if (view.data() == nullptr) return 0;
  std::int64_t rows = 1;
  for (int dim = 0; dim + 1 < view.shape().rank(); ++dim) rows *= view.extent(dim);
  return rows;
}

void require_matrix(ConstTensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns,
                    MemorySpace space) {
  if (view.data() == nullptr && (rows == 0 || columns == 0)) return;
  int const rank = view.shape().rank();
  bool const on_device = space == MemorySpace::device;
  SWITCHYARD_REQUIRE(view.data() != nullptr && rank >= 1 && view.shape().contiguous() &&
                         (view.space() == MemorySpace::device) == on_device,
                     shape_mismatch, "{} must be a contiguous view on {} memory of {} x {} elements", name,
                     on_device ? "device" : "host", rows, columns);
  SWITCHYARD_REQUIRE(view.dtype() == DType::f32 || view.dtype() == DType::bf16 || view.dtype() == DType::f16,
                     unsupported, "{} has dtype {}: f32, bf16 and f16 are offered", name, to_string(view.dtype()));
  SWITCHYARD_REQUIRE(view.extent(rank - 1) == columns && matrix_rows(view) == rows, shape_mismatch,
                     "{} is {} x {}, wanted {} x {}", name, matrix_rows(view), view.extent(rank - 1), rows, columns);
}

void require_codes(std::span<QuantizedView const> matrices, std::string_view name, std::int64_t experts,
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

void require_weights(ExpertMlp const& mlp, ExpertWeights const& weights, MemorySpace space) {
  std::int64_t const experts = mlp.num_local_experts;
  std::int64_t const outputs = mlp.first_layer_outputs();
  if (weights.w1_codes.empty()) {
    require_matrix(weights.w1, "w1", experts * outputs, mlp.hidden, space);
  } else {
    require_codes(weights.w1_codes, "w1", experts, outputs, mlp.hidden);
  }
  if (weights.w2_codes.empty()) {
    require_matrix(weights.w2, "w2", experts * mlp.hidden, mlp.local_units(), space);
  } else {
    require_codes(weights.w2_codes, "w2", experts, mlp.hidden, mlp.local_units());
  }
  if (weights.b1.data() != nullptr) require_matrix(weights.b1, "b1", experts, outputs, space);
  if (weights.b2.data() != nullptr) require_matrix(weights.b2, "b2", experts, mlp.hidden, space);
}

UnitOrder unit_order(ExpertMlp const& mlp) {
  UnitOrder order;
  std::int64_t begin = 0;
  for (std::int64_t const end : mlp.block_ends()) {
    for (std::int64_t unit = begin; unit < end; ++unit) order.rows.push_back(mlp.gate_row(unit));
    for (std::int64_t unit = begin; unit < end && mlp.activation.layout != GateLayout::plain; ++unit)
      order.rows.push_back(mlp.up_row(unit));
    order.ends.push_back(static_cast<std::int64_t>(order.rows.size()));
    begin = end;
  }
  return order;
}

}  // namespace switchyard::internal
