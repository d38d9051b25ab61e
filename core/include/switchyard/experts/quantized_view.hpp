// SPDX-License-Identifier: Apache-2.0
/// QuantizedView: a matrix stored as small codes with scales, its layout as data, and the bytes of each part.
///
/// Element (r, c) stands for code * scale, or (code - zero point) * scale: one rounding to fp32 (the difference of two
/// integers is exact). With a tensor scale g the scale is the fp32 product scale * (1 / g), itself rounded once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace switchyard {

enum class CodeFormat : std::uint8_t {
  e4m3,   ///< OCP FP8, one byte
  int8,   ///< two's complement, one byte
  uint8,  ///< one byte; usually with zero points
  e2m1,   ///< OCP FP4 {0, .5, 1, 1.5, 2, 3, 4, 6}, two per byte, the even column in the low half
  uint4,  ///< two per byte, the even column in the low half; usually with zero points
};
enum class ScaleFormat : std::uint8_t { f32, e8m0, e4m3 };
[[nodiscard]] std::string_view to_string(CodeFormat format) noexcept;
[[nodiscard]] std::string_view to_string(ScaleFormat format) noexcept;

/// Which elements share a scale: rectangles of group_rows x group_columns, cut off at the edges. 0 = the whole extent.
struct QuantLayout {
  CodeFormat code = CodeFormat::e4m3;
  ScaleFormat scale = ScaleFormat::f32;
  std::int64_t group_rows = 1;
  std::int64_t group_columns = 128;
  bool zero_points = false;   ///< one byte per group, for uint8 and uint4
  bool tensor_scale = false;  ///< a further fp32 factor for the whole matrix (nvfp4)
  friend bool operator==(QuantLayout const&, QuantLayout const&) = default;
};

/// Sizes of the parts of a matrix. Scales and zero points are [row groups, column groups], contiguous.
struct QuantSizes {
  std::int64_t row_groups = 0;
  std::int64_t column_groups = 0;
  std::int64_t code_row_bytes = 0;
  std::int64_t code_bytes = 0;
  std::int64_t scale_bytes = 0;
  std::int64_t zero_point_bytes = 0;
};
/// @throws Error{invalid_argument} for negative extents or groups, zero points on a signed format, or sizes beyond
/// 2^63.
[[nodiscard]] QuantSizes quant_sizes(QuantLayout const& layout, std::int64_t rows, std::int64_t columns);

struct QuantizedView {
  QuantLayout layout{};
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::span<std::byte const> codes{};
  std::span<std::byte const> scales{};
  std::span<std::byte const> zero_points{};
  float tensor_scale = 1.0f;  ///< g; read only when layout.tensor_scale

  /// @throws Error{shape_mismatch} naming part, bytes given and bytes wanted; what quant_sizes throws.
  void validate() const;
};

/// Values of columns [first, first + out.size()) of one row. @throws Error{invalid_argument} outside the matrix.
/// @note pure; the same bits as the CPU engine's loops.
void dequantize_row(QuantizedView const& matrix, std::int64_t row, std::int64_t first, std::span<float> out);

}  // namespace switchyard
