// SPDX-License-Identifier: Apache-2.0
/// Run-time element types and the storage-only half and quarter precision types.
///
/// Public headers hold no float arithmetic (DESIGN 2.8): conversions are out of line here and, for the two backends,
/// inline in core/hd/switchyard/hd/convert.hpp. One spelling, checked against the CUDA headers in tests.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>

namespace switchyard {

enum class DType : std::uint8_t { f32, f64, bf16, f16, f8_e4m3, f8_e5m2, i32, i64, u8 };

/// @return bytes of one element.
[[nodiscard]] std::int64_t size_of(DType dtype) noexcept;
/// @return "f32", "bf16", ... as the enumerators are spelled.
[[nodiscard]] std::string_view to_string(DType dtype) noexcept;
/// @return the dtype of that name, or nothing.
[[nodiscard]] std::optional<DType> parse_dtype(std::string_view name) noexcept;

/// bfloat16: 1 sign, 8 exponent, 7 mantissa bits.
struct bf16_t {
  std::uint16_t bits = 0;
  friend constexpr auto operator<=>(bf16_t, bf16_t) = default;
};
/// IEEE binary16.
struct f16_t {
  std::uint16_t bits = 0;
  friend constexpr auto operator<=>(f16_t, f16_t) = default;
};
/// OCP FP8 E4M3 (finite only: largest 448, NaN 0x7f and 0xff, no infinity).
struct fp8_e4m3_t {
  std::uint8_t bits = 0;
  friend constexpr auto operator<=>(fp8_e4m3_t, fp8_e4m3_t) = default;
};
/// OCP FP8 E5M2 (largest finite 57344, infinities, NaN).
struct fp8_e5m2_t {
  std::uint8_t bits = 0;
  friend constexpr auto operator<=>(fp8_e5m2_t, fp8_e5m2_t) = default;
};

/// OCP E8M0: the scale of a block of quantised values, 2^(bits - 127); 0xff is NaN. No sign, no zero.
struct e8m0_t {
  std::uint8_t bits = 0;
  friend constexpr auto operator<=>(e8m0_t, e8m0_t) = default;
};

/// What a conversion to FP8 or E8M0 does beyond the largest finite value. NaN always stays NaN.
enum class Saturation : std::uint8_t {
  saturate,  ///< values beyond the largest finite one, and infinities, become it (CUDA's SATFINITE)
  none,      ///< e4m3 and e8m0: NaN; e5m2: infinity (CUDA's NOSAT)
};

/// Which power of two a magnitude between two of them becomes.
enum class ScaleRounding : std::uint8_t {
  toward_zero,  ///< the smaller one
  up,           ///< the larger one
};

/// Exact widening conversions. A NaN of any sign and payload becomes the canonical float NaN, 0x7fffffff.
[[nodiscard]] float to_float(bf16_t value) noexcept;
[[nodiscard]] float to_float(f16_t value) noexcept;
[[nodiscard]] float to_float(fp8_e4m3_t value) noexcept;
[[nodiscard]] float to_float(fp8_e5m2_t value) noexcept;
[[nodiscard]] float to_float(e8m0_t value) noexcept;

/// Narrowing, round to nearest even. NaN becomes the type's canonical NaN (bf16 0x7fff, f16 0x7fff, FP8 0x7f): sign
/// clear, all other bits set. CUDA keeps the sign when an e4m3 overflow becomes NaN (0xff); we do not.
[[nodiscard]] bf16_t to_bf16(float value) noexcept;
[[nodiscard]] f16_t to_f16(float value) noexcept;
[[nodiscard]] fp8_e4m3_t to_fp8_e4m3(float value, Saturation saturation) noexcept;
[[nodiscard]] fp8_e5m2_t to_fp8_e5m2(float value, Saturation saturation) noexcept;

/// The power of two next to |value|. Zero and everything below 2^-127 give 2^-127; NaN gives 0xff.
/// @note as CUDA's __nv_cvt_float_to_e8m0; the sign is dropped there too.
[[nodiscard]] e8m0_t to_e8m0(float value, ScaleRounding rounding, Saturation saturation) noexcept;

}  // namespace switchyard
