// SPDX-License-Identifier: Apache-2.0
#include "switchyard/hd/quantize_weights.hpp"

#include <algorithm>
#include <cstring>

#include "check_call.hpp"
#include "expert_layers.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/convert.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

float value_at(ConstTensorView const& values, std::int64_t index) {
  if (values.dtype() == DType::f32) return static_cast<float const*>(values.data())[index];
  if (values.dtype() == DType::bf16) return hd::widen(static_cast<bf16_t const*>(values.data())[index]);
  return hd::widen(static_cast<f16_t const*>(values.data())[index]);
}

/// Where the codes, scales and zero points of one row are written.
struct WeightRow {
  WeightQuantSpec const& spec;
  std::byte* codes;
  std::byte* scales;
  std::byte* zero_points;  ///< null: none

  void store_code(std::int64_t column, std::int32_t code) const {
    if (spec.bits == 4) {
      std::byte const half = static_cast<std::byte>(code);
      std::byte& both = codes[column / 2];
      both = column % 2 == 0 ? half : both | (half << 4);
    } else {
      codes[column] = static_cast<std::byte>(spec.symmetric ? code - 128 : code);
    }
  }
  void store_scale(std::int64_t group, hd::WeightScale const& scale) const {
    std::memcpy(scales + 4 * group, &scale.scale, sizeof(float));
    if (zero_points != nullptr) zero_points[group] = static_cast<std::byte>(scale.zero_point);
  }
};

void quantize_weight_row(WeightRow const& row, std::vector<float> const& values) {
  auto const columns = static_cast<std::int64_t>(values.size());
  std::int64_t const width = row.spec.group_columns == 0 ? columns : row.spec.group_columns;
  for (std::int64_t first = 0, group = 0; first < columns; first += width, ++group) {
    std::int64_t const end = first + std::min(width, columns - first);
    hd::WeightRange range;
    for (std::int64_t c = first; c < end; ++c) range.include(values[to_size(c)]);
    hd::WeightScale const scale = row.spec.symmetric ? hd::symmetric_weight_scale(range, row.spec.bits)
                                                     : hd::ranged_weight_scale(range, row.spec.bits);
    row.store_scale(group, scale);
    for (std::int64_t c = first; c < end; ++c)
      row.store_code(c, hd::encode_weight(values[to_size(c)], scale, row.spec.bits));
  }
}

}  // namespace

QuantizedMatrix quantize_weights(WeightQuantSpec const& spec, ConstTensorView const& values) {
  spec.validate();
  SWITCHYARD_REQUIRE(values.shape().rank() == 2, shape_mismatch, "weights to quantise have {} extents, wanted 2",
                     values.shape().rank());
  QuantizedMatrix out;
  out.layout = spec.layout();
  out.rows = values.extent(0);
  out.columns = values.extent(1);
  require_matrix(values, "weights to quantise", out.rows, out.columns);
  QuantSizes const sizes = quant_sizes(out.layout, out.rows, out.columns);
  out.codes.resize(to_size(sizes.code_bytes));
  out.scales.resize(to_size(sizes.scale_bytes));
  out.zero_points.resize(to_size(sizes.zero_point_bytes));
  if (out.rows == 0 || out.columns == 0) return out;
  hd::FloatEnvGuard const float_env;
  std::int64_t const groups = sizes.column_groups;
  for_rows(out.rows, out.columns, [&](std::int64_t index) {
    std::vector<float> row(to_size(out.columns));
    for (std::int64_t c = 0; c < out.columns; ++c) row[to_size(c)] = value_at(values, index * out.columns + c);
    std::byte* const zeros = out.layout.zero_points ? out.zero_points.data() + index * groups : nullptr;
    quantize_weight_row(
        {spec, out.codes.data() + index * sizes.code_row_bytes, out.scales.data() + index * groups * 4, zeros}, row);
  });
  return out;
}

}  // namespace switchyard::cpu
