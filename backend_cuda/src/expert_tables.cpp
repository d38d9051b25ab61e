// SPDX-License-Identifier: Apache-2.0
#include "expert_tables.hpp"

#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

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

DeviceBuffer upload_codes(std::span<QuantizedView const> matrices, StreamView stream) {
  std::vector<CodedMatrix> table;
  for (QuantizedView const& matrix : matrices) table.push_back(coded_matrix(matrix));
  return upload(table, stream);
}

bool all_int8(std::span<QuantizedView const> matrices, std::string_view name) {
  if (matrices.empty()) return false;
  bool const first = is_int8(matrices.front());
  for (QuantizedView const& matrix : matrices)
    SWITCHYARD_REQUIRE(is_int8(matrix) == first, unsupported,
                       "{} of local expert {} is {}, that of expert 0 is {}: one kernel takes int8 codes, another all "
                       "other formats",
                       name, &matrix - matrices.data(), to_string(matrix.layout.code),
                       to_string(matrices.front().layout.code));
  return first;
}

}  // namespace

bool is_int8(QuantizedView const& matrix) noexcept {
  return matrix.layout.code == CodeFormat::int8 && matrix.layout.scale == ScaleFormat::f32 &&
         !matrix.layout.tensor_scale;
}

void require_device_matrix(ConstTensorView const& view, std::string_view name, std::int64_t rows,
                           std::int64_t columns) {
  if (view.data() == nullptr && (rows == 0 || columns == 0)) return;
  int const rank = view.shape().rank();
  SWITCHYARD_REQUIRE(
      view.data() != nullptr && rank >= 1 && view.shape().contiguous() && view.space() == MemorySpace::device,
      shape_mismatch, "{} must be a contiguous view on device memory of {} x {} elements", name, rows, columns);
  SWITCHYARD_REQUIRE(view.dtype() == DType::f32 || view.dtype() == DType::bf16 || view.dtype() == DType::f16,
                     unsupported, "{} has dtype {}: f32, bf16 and f16 are offered", name, to_string(view.dtype()));
  std::int64_t const last = view.extent(rank - 1);
  SWITCHYARD_REQUIRE(last == columns && (columns == 0 || view.shape().num_elements() / columns == rows), shape_mismatch,
                     "{} holds {} elements in lines of {}, wanted {} x {}", name, view.shape().num_elements(), last,
                     rows, columns);
}

void require_dtype(ConstTensorView const& view, std::string_view name, DType wanted) {
  SWITCHYARD_REQUIRE(view.data() == nullptr || view.dtype() == wanted, shape_mismatch, "{} is {}, wanted {}", name,
                     to_string(view.dtype()), to_string(wanted));
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

DeviceExpertWeights::DeviceExpertWeights(ExpertMlp const& mlp, ExpertWeights const& weights, StreamView stream)
    : tables_(std::make_unique<Tables>()) {
  mlp.validate();
  std::int64_t const experts = mlp.num_local_experts;
  std::int64_t const outputs = mlp.first_layer_outputs();
  if (weights.w1_codes.empty()) {
    require_device_matrix(weights.w1, "w1", experts * outputs, mlp.hidden);
  } else {
    check_codes(weights.w1_codes, "w1", experts, outputs, mlp.hidden);
  }
  if (weights.w2_codes.empty()) {
    require_device_matrix(weights.w2, "w2", experts * mlp.hidden, mlp.local_units());
  } else {
    check_codes(weights.w2_codes, "w2", experts, mlp.hidden, mlp.local_units());
  }
  if (weights.b1.data() != nullptr) require_device_matrix(weights.b1, "b1", experts, outputs);
  if (weights.b2.data() != nullptr) require_device_matrix(weights.b2, "b2", experts, mlp.hidden);
  tables_->views = weights;
  tables_->views.w1_codes = {};
  tables_->views.w2_codes = {};
  tables_->w1_views.assign(weights.w1_codes.begin(), weights.w1_codes.end());
  tables_->w2_views.assign(weights.w2_codes.begin(), weights.w2_codes.end());
  tables_->w1_codes = upload_codes(weights.w1_codes, stream);
  tables_->w2_codes = upload_codes(weights.w2_codes, stream);
  tables_->w1_int8 = all_int8(weights.w1_codes, "w1");
  tables_->w2_int8 = all_int8(weights.w2_codes, "w2");
}
DeviceExpertWeights::~DeviceExpertWeights() = default;
DeviceExpertWeights::DeviceExpertWeights(DeviceExpertWeights&&) noexcept = default;
DeviceExpertWeights& DeviceExpertWeights::operator=(DeviceExpertWeights&&) noexcept = default;

}  // namespace switchyard::cuda
