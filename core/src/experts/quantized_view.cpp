// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/quantized_view.hpp"

#include <array>
#include <limits>

#include "switchyard/hd/dequantize.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

std::int64_t groups_of(std::int64_t extent, std::int64_t group) {
  if (extent == 0) return 0;
  return group == 0 ? 1 : (extent - 1) / group + 1;
}

std::int64_t checked_product(std::int64_t a, std::int64_t b, std::string_view part) {
  SWITCHYARD_REQUIRE(b == 0 || a <= std::numeric_limits<std::int64_t>::max() / b, invalid_argument,
                     "{} of a quantised matrix: {} x {} bytes", part, a, b);
  return a * b;
}

void require_bytes(std::size_t given, std::int64_t wanted, std::string_view part) {
  SWITCHYARD_REQUIRE(given == to_size(wanted), shape_mismatch, "{} of a quantised matrix hold {} bytes, wanted {}",
                     part, given, wanted);
}

}  // namespace

std::string_view to_string(CodeFormat format) noexcept {
  constexpr std::array<std::string_view, 5> kNames = {"e4m3", "int8", "uint8", "e2m1", "uint4"};
  return kNames[static_cast<std::size_t>(format)];
}

std::string_view to_string(ScaleFormat format) noexcept {
  constexpr std::array<std::string_view, 3> kNames = {"f32", "e8m0", "e4m3"};
  return kNames[static_cast<std::size_t>(format)];
}

QuantSizes quant_sizes(QuantLayout const& layout, std::int64_t rows, std::int64_t columns) {
  SWITCHYARD_REQUIRE(rows >= 0 && columns >= 0 && layout.group_rows >= 0 && layout.group_columns >= 0, invalid_argument,
                     "a quantised matrix of {} x {} with groups of {} x {}: negative", rows, columns, layout.group_rows,
                     layout.group_columns);
  bool const has_sign = layout.code != CodeFormat::uint8 && layout.code != CodeFormat::uint4;
  SWITCHYARD_REQUIRE(!layout.zero_points || !has_sign, invalid_argument,
                     "codes of format {} have a sign, so they take no zero points", to_string(layout.code));
  bool const halves = layout.code == CodeFormat::e2m1 || layout.code == CodeFormat::uint4;
  QuantSizes sizes;
  sizes.row_groups = groups_of(rows, layout.group_rows);
  sizes.column_groups = groups_of(columns, layout.group_columns);
  sizes.code_row_bytes = halves ? columns / 2 + columns % 2 : columns;
  sizes.code_bytes = checked_product(rows, sizes.code_row_bytes, "codes");
  std::int64_t const groups = checked_product(sizes.row_groups, sizes.column_groups, "scales");
  sizes.scale_bytes = checked_product(groups, layout.scale == ScaleFormat::f32 ? 4 : 1, "scales");
  sizes.zero_point_bytes = layout.zero_points ? groups : 0;
  return sizes;
}

void QuantizedView::validate() const {
  QuantSizes const sizes = quant_sizes(layout, rows, columns);
  require_bytes(codes.size(), sizes.code_bytes, "codes");
  require_bytes(scales.size(), sizes.scale_bytes, "scales");
  require_bytes(zero_points.size(), sizes.zero_point_bytes, "zero points");
}

namespace {

/// The scale of one group, widened.
float scale_of(QuantizedView const& matrix, std::int64_t group) {
  std::byte const* const scales = matrix.scales.data();
  switch (matrix.layout.scale) {
    case ScaleFormat::f32: return hd::load_scale_f32(scales, group);
    case ScaleFormat::e8m0: return hd::widen(e8m0_t{static_cast<std::uint8_t>(scales[group])});
    case ScaleFormat::e4m3: return hd::widen(fp8_e4m3_t{static_cast<std::uint8_t>(scales[group])});
  }
  return 0.0f;
}

template <typename Decode>
void decode_run(std::byte const* codes, std::int64_t first, std::span<float> out, float scale, Decode const& decode) {
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = hd::dequantize(decode(codes, first + static_cast<std::int64_t>(i)), scale);
}

void decode_group(CodeFormat format, std::byte const* codes, std::int64_t first, std::span<float> out, float scale,
                  int zero_point) {
  switch (format) {
    case CodeFormat::e4m3: return decode_run(codes, first, out, scale, hd::E4m3Codes{});
    case CodeFormat::int8: return decode_run(codes, first, out, scale, hd::Int8Codes{});
    case CodeFormat::uint8: return decode_run(codes, first, out, scale, hd::Uint8Codes{zero_point});
    case CodeFormat::e2m1: return decode_run(codes, first, out, scale, hd::E2m1Codes{});
    case CodeFormat::uint4: return decode_run(codes, first, out, scale, hd::Uint4Codes{zero_point});
  }
}

}  // namespace

void dequantize_row(QuantizedView const& matrix, std::int64_t row, std::int64_t first, std::span<float> out) {
  auto const end = first + static_cast<std::int64_t>(out.size());
  SWITCHYARD_REQUIRE(row >= 0 && row < matrix.rows && first >= 0 && end <= matrix.columns, invalid_argument,
                     "row {}, columns [{}, {}) of a quantised {} x {} matrix", row, first, end, matrix.rows,
                     matrix.columns);
  QuantSizes const sizes = quant_sizes(matrix.layout, matrix.rows, matrix.columns);
  std::int64_t const width = matrix.layout.group_columns == 0 ? matrix.columns : matrix.layout.group_columns;
  std::int64_t const row_group = matrix.layout.group_rows == 0 ? 0 : row / matrix.layout.group_rows;
  std::byte const* const codes = matrix.codes.data() + row * sizes.code_row_bytes;
  for (std::int64_t column = first; column < end;) {
    std::int64_t const group = row_group * sizes.column_groups + column / width;
    std::int64_t const stop = column / width == (end - 1) / width ? end : (column / width + 1) * width;
    float scale = scale_of(matrix, group);
    if (matrix.layout.tensor_scale) scale = hd::scale_with_tensor(scale, matrix.tensor_scale);
    int const zero_point = matrix.layout.zero_points ? static_cast<int>(matrix.zero_points[to_size(group)]) : 0;
    decode_group(matrix.layout.code, codes, column, out.subspan(to_size(column - first), to_size(stop - column)), scale,
                 zero_point);
    column = stop;
  }
}

}  // namespace switchyard
