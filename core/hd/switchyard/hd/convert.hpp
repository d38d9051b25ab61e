// SPDX-License-Identifier: Apache-2.0
/// Conversions between float and the narrow float types, in integer code, so that neither the rounding mode nor
/// flush-to-zero nor the compiler can change a bit.
#pragma once

#include <cstdint>

#include "switchyard/hd/bits.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::hd {

namespace detail {

inline constexpr std::uint32_t kFloatMagnitude = 0x7fffffffu;
inline constexpr std::uint32_t kFloatInfinity = 0x7f800000u;
inline constexpr int kFloatMantissaBits = 23;
inline constexpr int kFloatBias = 127;

/// Shifts right and rounds to nearest, ties to even. 1 <= shift <= 31; value below 2^31.
SWITCHYARD_HD constexpr std::uint32_t shift_right_rne(std::uint32_t value, int shift) noexcept {
  std::uint32_t const below_half = (std::uint32_t{1} << (shift - 1)) - 1;
  std::uint32_t const odd = (value >> shift) & 1u;
  return (value + below_half + odd) >> shift;
}

/// Rounds the magnitude of a float to the code of a format with `kMantissaBits` and `kBias`, as if its exponent field
/// had no end: codes past the format's largest finite one come back as they are, and the caller decides about them.
template <int kMantissaBits, int kBias>
SWITCHYARD_HD constexpr std::uint32_t encode_magnitude(std::uint32_t magnitude) noexcept {
  int const exponent = static_cast<int>(magnitude >> kFloatMantissaBits);
  if (exponent > kFloatBias - kBias) {
    std::uint32_t const rebased = magnitude - (static_cast<std::uint32_t>(kFloatBias - kBias) << kFloatMantissaBits);
    return shift_right_rne(rebased, kFloatMantissaBits - kMantissaBits);
  }
  // A subnormal of the format: its unit is 2^(1 - kBias - kMantissaBits), the float's is 2^(exponent - 150).
  std::uint32_t const hidden = exponent == 0 ? 0u : std::uint32_t{1} << kFloatMantissaBits;
  std::uint32_t const significand = (magnitude & ((std::uint32_t{1} << kFloatMantissaBits) - 1)) | hidden;
  int const shift = kFloatBias + kFloatMantissaBits + 1 - kBias - kMantissaBits - (exponent == 0 ? 1 : exponent);
  return shift > kFloatMantissaBits + 1 ? 0u : shift_right_rne(significand, shift);
}

/// The float bits of a finite code (sign excluded) of a format with `kMantissaBits` and `kBias`, exact.
template <int kMantissaBits, int kBias>
SWITCHYARD_HD constexpr std::uint32_t decode_magnitude(std::uint32_t code) noexcept {
  std::uint32_t const hidden = std::uint32_t{1} << kMantissaBits;
  if (code == 0) return 0;
  int exponent = static_cast<int>(code >> kMantissaBits);
  std::uint32_t significand = code & (hidden - 1);
  if (exponent == 0) {
    for (exponent = 1; significand < hidden; --exponent) significand <<= 1;
    significand -= hidden;
  }
  std::uint32_t const rebased = static_cast<std::uint32_t>(exponent + kFloatBias - kBias) << kFloatMantissaBits;
  return rebased | (significand << (kFloatMantissaBits - kMantissaBits));
}

SWITCHYARD_HD inline float from_sign_and_magnitude(bool negative, std::uint32_t magnitude) noexcept {
  return bits_to<float>(magnitude | (negative ? 0x80000000u : 0u));
}

}  // namespace detail

/// Exact widening. A NaN of any sign and payload becomes the canonical float NaN.
SWITCHYARD_HD inline float widen(bf16_t value) noexcept {
  return canonical(bits_to<float>(static_cast<std::uint32_t>(value.bits) << 16));
}
SWITCHYARD_HD inline float widen(f16_t value) noexcept {
  std::uint32_t const code = value.bits & 0x7fffu;
  if (code > 0x7c00u) return bits_to<float>(kCanonicalNan32);
  std::uint32_t const magnitude = code == 0x7c00u ? detail::kFloatInfinity : detail::decode_magnitude<10, 15>(code);
  return detail::from_sign_and_magnitude((value.bits & 0x8000u) != 0, magnitude);
}
SWITCHYARD_HD inline float widen(fp8_e4m3_t value) noexcept {
  std::uint32_t const code = value.bits & 0x7fu;
  if (code == 0x7fu) return bits_to<float>(kCanonicalNan32);
  return detail::from_sign_and_magnitude((value.bits & 0x80u) != 0, detail::decode_magnitude<3, 7>(code));
}
SWITCHYARD_HD inline float widen(fp8_e5m2_t value) noexcept {
  std::uint32_t const code = value.bits & 0x7fu;
  if (code > 0x7cu) return bits_to<float>(kCanonicalNan32);
  std::uint32_t const magnitude = code == 0x7cu ? detail::kFloatInfinity : detail::decode_magnitude<2, 15>(code);
  return detail::from_sign_and_magnitude((value.bits & 0x80u) != 0, magnitude);
}

SWITCHYARD_HD inline float widen(e8m0_t value) noexcept {
  if (value.bits == 0xffu) return bits_to<float>(kCanonicalNan32);
  // 2^-127 is a subnormal float, every other scale has its code as the exponent field.
  return bits_to<float>(value.bits == 0 ? std::uint32_t{0x00400000} : static_cast<std::uint32_t>(value.bits) << 23);
}

/// Narrowing, round to nearest, ties to even; a NaN becomes the canonical one of the target.
SWITCHYARD_HD inline bf16_t round_to_bf16(float value) noexcept {
  std::uint32_t const bits = bits_to<std::uint32_t>(value);
  if ((bits & detail::kFloatMagnitude) > detail::kFloatInfinity) return bf16_t{kCanonicalNan16};
  // Same exponent range as float: the carry out of the mantissa moves through the exponent up to infinity by itself.
  std::uint32_t const code = detail::shift_right_rne(bits & detail::kFloatMagnitude, 16);
  return bf16_t{static_cast<std::uint16_t>(((bits >> 16) & 0x8000u) | code)};
}
SWITCHYARD_HD inline f16_t round_to_f16(float value) noexcept {
  std::uint32_t const bits = bits_to<std::uint32_t>(value);
  std::uint32_t const magnitude = bits & detail::kFloatMagnitude;
  if (magnitude > detail::kFloatInfinity) return f16_t{kCanonicalNan16};
  std::uint32_t const code = detail::encode_magnitude<10, 15>(magnitude);
  return f16_t{static_cast<std::uint16_t>(((bits >> 16) & 0x8000u) | (code < 0x7c00u ? code : 0x7c00u))};
}
SWITCHYARD_HD inline fp8_e4m3_t round_to_e4m3(float value, Saturation saturation) noexcept {
  std::uint32_t const bits = bits_to<std::uint32_t>(value);
  std::uint32_t const magnitude = bits & detail::kFloatMagnitude;
  if (magnitude > detail::kFloatInfinity) return fp8_e4m3_t{kCanonicalNanFp8};
  std::uint32_t const code = detail::encode_magnitude<3, 7>(magnitude);
  std::uint32_t const sign = (bits >> 24) & 0x80u;
  if (code < 0x7fu) return fp8_e4m3_t{static_cast<std::uint8_t>(sign | code)};
  return saturation == Saturation::saturate ? fp8_e4m3_t{static_cast<std::uint8_t>(sign | 0x7eu)}
                                            : fp8_e4m3_t{kCanonicalNanFp8};
}
SWITCHYARD_HD inline fp8_e5m2_t round_to_e5m2(float value, Saturation saturation) noexcept {
  std::uint32_t const bits = bits_to<std::uint32_t>(value);
  std::uint32_t const magnitude = bits & detail::kFloatMagnitude;
  if (magnitude > detail::kFloatInfinity) return fp8_e5m2_t{kCanonicalNanFp8};
  std::uint32_t const code = detail::encode_magnitude<2, 15>(magnitude);
  std::uint32_t const beyond = saturation == Saturation::saturate ? 0x7bu : 0x7cu;
  return fp8_e5m2_t{static_cast<std::uint8_t>(((bits >> 24) & 0x80u) | (code < 0x7cu ? code : beyond))};
}

/// The power of two at or next to |value|, see switchyard::to_e8m0.
SWITCHYARD_HD inline e8m0_t round_to_e8m0(float value, ScaleRounding rounding, Saturation saturation) noexcept {
  std::uint32_t const magnitude = bits_to<std::uint32_t>(value) & detail::kFloatMagnitude;
  if (magnitude > detail::kFloatInfinity) return e8m0_t{0xff};
  bool const between = (magnitude & 0x007fffffu) != 0 && magnitude > 0x00400000u;  // 0x00400000 is 2^-127
  std::uint32_t const code = (magnitude >> 23) + (between && rounding == ScaleRounding::up ? 1u : 0u);
  if (code < 0xffu) return e8m0_t{static_cast<std::uint8_t>(code)};
  return e8m0_t{static_cast<std::uint8_t>(saturation == Saturation::saturate ? 0xfe : 0xff)};
}

/// The float that `value` stands for (identity for float: a move keeps bits).
SWITCHYARD_HD inline float widen(float value) noexcept {
  return value;
}

/// Rounds an arithmetic result to the row type `T` once; a NaN is stored as T's canonical NaN.
template <typename T>
SWITCHYARD_HD T narrow(float value) noexcept;
template <>
SWITCHYARD_HD inline float narrow<float>(float value) noexcept {
  return canonical(value);
}
template <>
SWITCHYARD_HD inline bf16_t narrow<bf16_t>(float value) noexcept {
  return round_to_bf16(value);
}
template <>
SWITCHYARD_HD inline f16_t narrow<f16_t>(float value) noexcept {
  return round_to_f16(value);
}

}  // namespace switchyard::hd
