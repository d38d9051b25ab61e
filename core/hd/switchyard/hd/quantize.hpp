// SPDX-License-Identifier: Apache-2.0
/// Quantisers: the scale of a group of values from their largest magnitude, and the code of one value. Unfused fp32 in
/// the order written here. Codes are computed without branches, so that loops over a row vectorise.
///
/// NaN: left out of the largest magnitude; its code is NaN (e4m3), 0 (int8), 6 (e2m1, as CUDA's satfinite conversion).
/// Infinity: the formulas taken literally. With a scale from absmax the scale is infinite (mxfp8: 2^127, nvfp4: 448),
/// so that the group's other values become 0 and read back as NaN: an infinity is not hidden.
#pragma once

#include <cstdint>

#include "switchyard/hd/convert.hpp"
#include "switchyard/hd/dequantize.hpp"
#include "switchyard/hd/math_f32.hpp"
#include "switchyard/types/quant_scheme.hpp"

namespace switchyard::hd {

inline constexpr float kE4m3Largest = 448.0f;

/// What a scheme reads besides the values.
struct QuantParameters {
  float given_scale = 1.0f;   ///< fp8_tensor
  float upper_bound = 3e38f;  ///< fp8_token
  float tensor_scale = 1.0f;  ///< nvfp4: g
};

/// The scale of a group as it is stored, and what values are multiplied with or divided by.
struct GroupScale {
  float stored = 1.0f;    ///< f32, or the exact value of `code`
  float factor = 1.0f;    ///< see encode
  std::uint8_t code = 0;  ///< of e8m0 and e4m3 scales
};

namespace detail {

/// The code (without sign) of a magnitude that is at most the format's largest value; nearest, ties to even.
template <int kMantissaBits, int kBias>
SWITCHYARD_HD inline std::uint32_t encode_bounded(float size) noexcept {
  constexpr int kShift = kFloatMantissaBits - kMantissaBits;
  // Its last place is the unit of the format's subnormal codes, so that adding it rounds to that unit.
  float const rounder = power_of_two_f32(1 - kBias - kMantissaBits + kFloatMantissaBits);
  std::uint32_t const magnitude = bits_to<std::uint32_t>(size);
  std::uint32_t const half = (std::uint32_t{1} << (kShift - 1)) - 1;
  std::uint32_t const normal = ((magnitude + half + ((magnitude >> kShift) & 1u)) >> kShift) -
                               (static_cast<std::uint32_t>(kFloatBias - kBias) << kMantissaBits);
  std::uint32_t const subnormal = bits_to<std::uint32_t>(add_rn(size, rounder)) - bits_to<std::uint32_t>(rounder);
  std::uint32_t const least_normal = static_cast<std::uint32_t>(kFloatBias + 1 - kBias) << kFloatMantissaBits;
  std::uint32_t const below = 0u - static_cast<std::uint32_t>(magnitude < least_normal);
  return (subnormal & below) | (normal & ~below);
}

/// All ones for a NaN.
SWITCHYARD_HD inline std::uint32_t nan_mask(float x) noexcept {
  return 0u - static_cast<std::uint32_t>((bits_to<std::uint32_t>(x) & kFloatMagnitude) > kFloatInfinity);
}

}  // namespace detail

/// round_to_e4m3(x, saturate) for vector loops: tests compare the two over all floats.
SWITCHYARD_HD inline std::uint32_t encode_e4m3(float x) noexcept {
  float const size = detail::magnitude_at_most(detail::magnitude(x), kE4m3Largest);
  std::uint32_t const code = detail::encode_bounded<3, 7>(size) | ((bits_to<std::uint32_t>(x) >> 24) & 0x80u);
  std::uint32_t const is_nan = detail::nan_mask(x);
  return (is_nan & kCanonicalNanFp8) | (~is_nan & code);
}

/// Nearest E2M1 code, ties to the even code, saturating; NaN gives 7 (+6).
SWITCHYARD_HD inline std::uint32_t encode_e2m1(float x) noexcept {
  float const size = detail::magnitude_at_most(detail::magnitude(x), 6.0f);  // a NaN becomes 6
  std::uint32_t const sign = (bits_to<std::uint32_t>(x) >> 28) & 8u;
  return detail::encode_bounded<1, 1>(size) | (sign & ~detail::nan_mask(x));
}

/// Nearest integer, halves away from zero, clamped to [-127, 127]; NaN gives 0. In two's complement.
SWITCHYARD_HD inline std::uint32_t encode_int8_round(float x) noexcept {
  float const bounded = detail::with_sign_of(detail::magnitude_at_most(detail::magnitude(x), 127.0f), x);
  float const number = detail::choose(bits_to<std::uint32_t>(detail::magnitude(x)) > 0x7f800000u, 0.0f, bounded);
  auto const whole = static_cast<std::int32_t>(number);
  float const rest = detail::magnitude(sub_rn(number, static_cast<float>(whole)));  // exact
  std::int32_t const sign = detail::is_negative(number) ? -1 : 1;
  std::int32_t const away = detail::magnitude_below(rest, 0.5f) ? 0 : sign;
  return static_cast<std::uint32_t>(whole + away) & 0xffu;
}

/// clamp(x, -128, 127) cut towards zero; NaN gives 0. In two's complement.
SWITCHYARD_HD inline std::uint32_t encode_int8_truncate(float x) noexcept {
  float const bound = detail::choose(detail::is_negative(x), 128.0f, 127.0f);
  float const bounded = detail::with_sign_of(detail::magnitude_at_most(detail::magnitude(x), bound), x);
  float const number = detail::choose(bits_to<std::uint32_t>(detail::magnitude(x)) > 0x7f800000u, 0.0f, bounded);
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(number)) & 0xffu;
}

namespace detail {
/// The larger of two numbers without a sign, neither a NaN.
SWITCHYARD_HD inline float larger(float a, float b) noexcept {
  return choose(magnitude_below(a, b), b, a);
}
/// The value of an e4m3 code without sign, no NaN: the product is exact, for subnormal codes too.
SWITCHYARD_HD inline float e4m3_value(std::uint32_t code) noexcept {
  return mul_rn(bits_to<float>(code << 20), 0x1p120f);
}
/// 2^-k of the scale 2^k, k < 128: multiplying with it is dividing by the scale, to the bit.
SWITCHYARD_HD inline float inverse_power(e8m0_t power) noexcept {
  return widen(e8m0_t{static_cast<std::uint8_t>(254u - power.bits)});
}
}  // namespace detail

/// The scale of a group whose largest magnitude is `absmax` (not a NaN, no sign).
template <QuantScheme kScheme>
SWITCHYARD_HD inline GroupScale group_scale(float absmax, QuantParameters const& parameters) noexcept {
  constexpr float kSmallest = 1e-10f;
  if constexpr (kScheme == QuantScheme::fp8_tensor) {
    return {parameters.given_scale, div_rn(1.0f, parameters.given_scale), 0};
  } else if constexpr (kScheme == QuantScheme::fp8_tensor_dynamic) {
    float const scale = detail::choose(bits_to<std::uint32_t>(absmax) == 0, 1.0f, div_rn(absmax, kE4m3Largest));
    return {scale, div_rn(1.0f, scale), 0};
  } else if constexpr (kScheme == QuantScheme::fp8_token) {
    float const bounded = detail::magnitude_at_most(absmax, parameters.upper_bound);
    float const scale = detail::larger(div_rn(bounded, kE4m3Largest), div_rn(1.0f, 448.0f * 512.0f));
    return {scale, scale, 0};
  } else if constexpr (kScheme == QuantScheme::fp8_group) {
    float const scale = div_rn(detail::larger(absmax, kSmallest), kE4m3Largest);
    return {scale, scale, 0};
  } else if constexpr (kScheme == QuantScheme::fp8_group_ue8m0) {
    float const scale = div_rn(detail::larger(absmax, kSmallest), kE4m3Largest);
    e8m0_t const power = round_to_e8m0(detail::larger(scale, kSmallest), ScaleRounding::up, Saturation::saturate);
    return {widen(power), detail::inverse_power(power), power.bits};
  } else if constexpr (kScheme == QuantScheme::fp8_deepep) {
    float const largest = detail::larger(absmax, 1e-4f);
    return {mul_rn(largest, div_rn(1.0f, kE4m3Largest)), div_rn(kE4m3Largest, largest), 0};
  } else if constexpr (kScheme == QuantScheme::int8_token) {
    float const largest = detail::larger(absmax, kSmallest);
    return {div_rn(largest, 127.0f), div_rn(127.0f, largest), 0};
  } else if constexpr (kScheme == QuantScheme::int8_group) {
    float const scale = div_rn(detail::larger(absmax, kSmallest), 127.0f);
    return {scale, scale, 0};
  } else if constexpr (kScheme == QuantScheme::mxfp8) {
    e8m0_t const power = round_to_e8m0(div_rn(absmax, kE4m3Largest), ScaleRounding::up, Saturation::saturate);
    return {widen(power), detail::inverse_power(power), power.bits};
  } else {
    float const wanted = mul_rn(parameters.tensor_scale, mul_rn(absmax, div_rn(1.0f, 6.0f)));
    std::uint32_t const code = encode_e4m3(wanted);
    float const scale = detail::e4m3_value(code);
    float const inverse = div_rn(1.0f, scale_with_tensor(scale, parameters.tensor_scale));
    return {scale, detail::choose(code == 0, 0.0f, inverse), static_cast<std::uint8_t>(code)};
  }
}

/// Whether values are divided by the factor (else they are multiplied with it).
SWITCHYARD_HD constexpr bool divides(QuantScheme scheme) noexcept {
  return scheme == QuantScheme::fp8_token || scheme == QuantScheme::fp8_group || scheme == QuantScheme::int8_group;
}

/// The code of one value, in the low bits.
template <QuantScheme kScheme>
SWITCHYARD_HD inline std::uint32_t encode(float x, float factor) noexcept {
  float const scaled = divides(kScheme) ? div_rn(x, factor) : mul_rn(x, factor);
  if constexpr (kScheme == QuantScheme::int8_token) return encode_int8_round(scaled);
  if constexpr (kScheme == QuantScheme::int8_group) return encode_int8_truncate(scaled);
  if constexpr (kScheme == QuantScheme::nvfp4) return encode_e2m1(scaled);
  return encode_e4m3(scaled);
}

}  // namespace switchyard::hd
