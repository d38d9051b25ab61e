// SPDX-License-Identifier: Apache-2.0
#include "expert_tables.hpp"

#include <utility>

#include "switchyard/internal/expert_operands.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {
namespace {

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
  internal::require_matrix(view, name, rows, columns, MemorySpace::device);
}

void require_dtype(ConstTensorView const& view, std::string_view name, DType wanted) {
  SWITCHYARD_REQUIRE(view.data() == nullptr || view.dtype() == wanted, shape_mismatch, "{} is {}, wanted {}", name,
                     to_string(view.dtype()), to_string(wanted));
}

DeviceExpertWeights::DeviceExpertWeights(ExpertMlp const& mlp, ExpertWeights const& weights, StreamView stream)
    : tables_(std::make_unique<Tables>()) {
  mlp.validate();
  internal::require_weights(mlp, weights, MemorySpace::device);
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
