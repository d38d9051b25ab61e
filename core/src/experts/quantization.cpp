// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/quantization.hpp"

#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

constexpr std::array<std::string_view, kAllQuantSchemes.size()> kNames = {
    "fp8_tensor", "fp8_tensor_dynamic", "fp8_token",  "fp8_group", "fp8_group_ue8m0",
    "fp8_deepep", "int8_token",         "int8_group", "mxfp8",     "nvfp4"};

void require_scale(float value, std::string_view name, QuantScheme scheme) {
  SWITCHYARD_REQUIRE(std::isfinite(value) && value > 0.0f, invalid_argument,
                     "{} of quantisation {} is {}: it must be positive and finite", name, to_string(scheme), value);
}

}  // namespace

std::string_view to_string(QuantScheme scheme) noexcept {
  return kNames[static_cast<std::size_t>(scheme)];
}

std::optional<QuantScheme> parse_quant_scheme(std::string_view name) noexcept {
  for (QuantScheme const scheme : kAllQuantSchemes)
    if (to_string(scheme) == name) return scheme;
  return std::nullopt;
}

void QuantSpec::validate() const {
  SWITCHYARD_REQUIRE(group_columns >= 1, invalid_argument, "quantisation {} with groups of {} columns: 1 or more",
                     to_string(scheme), group_columns);
  if (scheme == QuantScheme::fp8_tensor) require_scale(given_scale, "given_scale", scheme);
  if (scheme == QuantScheme::fp8_token) require_scale(upper_bound, "upper_bound", scheme);
  if (scheme == QuantScheme::nvfp4) require_scale(tensor_scale, "tensor_scale", scheme);
}

QuantLayout QuantSpec::layout() const {
  switch (scheme) {
    case QuantScheme::fp8_tensor:
    case QuantScheme::fp8_tensor_dynamic: return {CodeFormat::e4m3, ScaleFormat::f32, 0, 0};
    case QuantScheme::fp8_token: return {CodeFormat::e4m3, ScaleFormat::f32, 1, 0};
    case QuantScheme::fp8_group:
    case QuantScheme::fp8_deepep: return {CodeFormat::e4m3, ScaleFormat::f32, 1, group_columns};
    case QuantScheme::fp8_group_ue8m0: return {CodeFormat::e4m3, ScaleFormat::e8m0, 1, group_columns};
    case QuantScheme::int8_token: return {CodeFormat::int8, ScaleFormat::f32, 1, 0};
    case QuantScheme::int8_group: return {CodeFormat::int8, ScaleFormat::f32, 1, group_columns};
    case QuantScheme::mxfp8: return {CodeFormat::e4m3, ScaleFormat::e8m0, 1, 32};
    case QuantScheme::nvfp4: return {CodeFormat::e2m1, ScaleFormat::e4m3, 1, 16, false, true};
  }
  return {};
}

bool QuantSpec::scales_per_row() const noexcept {
  return scheme != QuantScheme::fp8_tensor && scheme != QuantScheme::fp8_tensor_dynamic;
}

QuantizedMatrix QuantizedMatrix::make(QuantSpec const& spec, std::int64_t rows, std::int64_t columns) {
  spec.validate();
  QuantizedMatrix matrix;
  matrix.layout = spec.layout();
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.tensor_scale = spec.tensor_scale;
  QuantSizes const sizes = quant_sizes(matrix.layout, rows, columns);
  matrix.codes.resize(to_size(sizes.code_bytes));
  matrix.scales.resize(to_size(sizes.scale_bytes));
  matrix.zero_points.resize(to_size(sizes.zero_point_bytes));
  return matrix;
}

QuantizedView QuantizedMatrix::view() const noexcept {
  return {layout, rows, columns, codes, scales, zero_points, tensor_scale};
}

}  // namespace switchyard
