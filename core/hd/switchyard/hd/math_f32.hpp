// SPDX-License-Identifier: Apache-2.0
/// exp, log, softplus, sigmoid, tanh, erf and rsqrt in fp32, made of unfused + - * /, the square root and bit
/// operations, so that every compiler and backend gives the same bits. Choices compare bit patterns, not floats:
/// integer compares raise no exception flag, so loops over these functions vectorise.
///
/// Largest error in units in the last place of the exact result: exp 0.90, log 0.85, softplus 2, sigmoid 2, tanh 1.45,
/// erf 1.35, rsqrt 1.5, sqrt 0.5 (tests/unit/hd_math_f32_test.cpp; docs/determinism/router.md). The polynomial
/// coefficients are minimax fits of the quotient named beside them, made in 50 digits, each coefficient rounded to
/// fp32 before the rest was fitted again.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"

namespace switchyard::hd {

namespace detail {

inline constexpr float kLog2EF32 = 0x1.715476p+0f;
// ln 2 in two parts; the high one has 15 significant bits, so that its product with an exponent is exact.
inline constexpr float kLn2HighF32 = 0x1.62e4p-1f;
inline constexpr float kLn2LowF32 = 0x1.7f7d1cp-20f;

/// 2^exponent for a normal result: -126 <= exponent <= 127.
SWITCHYARD_HD inline float power_of_two_f32(std::int32_t exponent) noexcept {
  return bits_to<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

/// Horner, highest coefficient first, unfused.
template <std::size_t kCount>
SWITCHYARD_HD inline float polynomial(float x, float const (&coefficients)[kCount]) noexcept {
  float value = coefficients[0];
  for (std::size_t i = 1; i < kCount; ++i) value = mul_then_add(value, x, coefficients[i]);
  return value;
}

SWITCHYARD_HD inline float magnitude(float x) noexcept {
  return bits_to<float>(bits_to<std::uint32_t>(x) & 0x7fffffffu);
}

SWITCHYARD_HD inline float with_sign_of(float magnitude, float sign) noexcept {
  return bits_to<float>(bits_to<std::uint32_t>(magnitude) | (bits_to<std::uint32_t>(sign) & 0x80000000u));
}

/// `yes` or `no` through a mask. A conditional would let the compiler sink the arithmetic behind `no` into a branch.
SWITCHYARD_HD inline float choose(bool condition, float yes, float no) noexcept {
  std::uint32_t const mask = 0u - static_cast<std::uint32_t>(condition);
  return bits_to<float>((bits_to<std::uint32_t>(yes) & mask) | (bits_to<std::uint32_t>(no) & ~mask));
}

SWITCHYARD_HD inline bool is_negative(float x) noexcept {
  return (bits_to<std::uint32_t>(x) & 0x80000000u) != 0;
}

/// Compares two numbers without a sign bit: their bits are ordered as they are, and a NaN is above all.
SWITCHYARD_HD inline bool magnitude_below(float a, float b) noexcept {
  return bits_to<std::uint32_t>(a) < bits_to<std::uint32_t>(b);
}
SWITCHYARD_HD inline float magnitude_at_most(float size, float bound) noexcept {
  return choose(magnitude_below(size, bound), size, bound);
}

/// `value`, or the canonical NaN when `argument` is a NaN.
SWITCHYARD_HD inline float unless_nan(float argument, float value) noexcept {
  bool const is_nan = magnitude_below(bits_to<float>(0x7f800000u), magnitude(argument));
  return choose(is_nan, bits_to<float>(kCanonicalNan32), value);
}

/// The fraction s = f / (2 + f) turns ln(1 + f) into an odd series of s. With f exact, f^2/2 and the series are small
/// against f, so their roundings are too: ln(1 + f) = f - (f^2/2 - series(f)).
struct LogSeries {
  float half_square;
  float series;  ///< s * (f^2/2 + R(s)), R(s) = ln((1+s)/(1-s))/s - 2; |s| <= 1/3
};
SWITCHYARD_HD inline LogSeries log_series(float f) noexcept {
  float const coefficients[] = {0x1.59c64ep-3f, 0x1.808c32p-3f, 0x1.c49afap-3f,
                                0x1.24a828p-2f, 0x1.9999p-2f,   0x1.555556p-1f};
  float const s = div_rn(f, add_rn(2.0f, f));
  float const square = mul_rn(s, s);
  float const half_square = mul_rn(0.5f, mul_rn(f, f));
  float const tail = mul_rn(square, polynomial(square, coefficients));
  return {half_square, mul_rn(s, add_rn(half_square, tail))};
}

}  // namespace detail

/// The square root, correctly rounded. A negative number or NaN gives the canonical NaN; -0 stays -0.
SWITCHYARD_HD inline float sqrt(float x) noexcept {
  float const root = sqrt_rn(x);
  return detail::unless_nan(root, root);
}

/// 1 / sqrt(x): two roundings, not the hardware's estimate. +0 gives +inf, -0 gives -inf, +inf gives +0.
SWITCHYARD_HD inline float rsqrt(float x) noexcept {
  float const inverse = div_rn(1.0f, sqrt_rn(x));
  return detail::unless_nan(inverse, inverse);
}

/// e^x. Overflow gives +inf, underflow goes through the subnormals (two roundings there) to +0.
SWITCHYARD_HD inline float exp(float x) noexcept {
  constexpr float kRounder = 0x1.8p+23f;  // adding it leaves the nearest integer in the low bits
  // (e^r - 1 - r) / r^2 on |r| <= ln(2)/2
  float const coefficients[] = {0x1.6a5e02p-10f, 0x1.123ac8p-7f, 0x1.5558a2p-5f, 0x1.555490p-3f, 0x1.fffffcp-2f};
  // Past these bounds the result is +0 or +inf, as it is at them.
  float const bound = detail::choose(detail::is_negative(x), 104.0f, 89.0f);
  float const bounded = detail::with_sign_of(detail::magnitude_at_most(detail::magnitude(x), bound), x);
  float const shifted = add_rn(mul_rn(bounded, detail::kLog2EF32), kRounder);
  float const k = sub_rn(shifted, kRounder);
  float const high = sub_rn(bounded, mul_rn(k, detail::kLn2HighF32));
  float const low = mul_rn(k, detail::kLn2LowF32);
  float const r = sub_rn(high, low);
  float const curve = mul_rn(mul_rn(r, r), detail::polynomial(r, coefficients));
  float const mantissa = add_rn(1.0f, sub_rn(high, sub_rn(low, curve)));
  // Two steps, so that neither factor leaves the normal range. A NaN's exponent is nonsense and is not used.
  std::uint32_t const exponent = bits_to<std::uint32_t>(shifted) - bits_to<std::uint32_t>(kRounder);
  std::int32_t const first = static_cast<std::int32_t>(exponent) >> 1;
  std::uint32_t const second = exponent - static_cast<std::uint32_t>(first);
  float const scaled = mul_rn(mul_rn(mantissa, detail::power_of_two_f32(first)),
                              detail::power_of_two_f32(static_cast<std::int32_t>(second)));
  return detail::unless_nan(x, scaled);
}

/// Natural logarithm. +-0 gives -inf, a negative number or NaN the canonical NaN, +inf itself.
SWITCHYARD_HD inline float log(float x) noexcept {
  constexpr std::uint32_t kSqrtHalf = 0x3f3504f3u;
  std::uint32_t const given = bits_to<std::uint32_t>(x);
  bool const subnormal = given < 0x00800000u;
  std::uint32_t const bits = bits_to<std::uint32_t>(detail::choose(subnormal, mul_rn(x, 0x1p+25f), x));
  // The mantissa is taken in [sqrt(1/2), sqrt(2)): subtracting sqrt(1/2) first moves the exponent's step there.
  std::uint32_t const moved = bits - kSqrtHalf;
  float const mantissa = bits_to<float>((moved & 0x007fffffu) + kSqrtHalf);
  float const k =
      sub_rn(static_cast<float>(static_cast<std::int32_t>(moved) >> 23), detail::choose(subnormal, 25.0f, 0.0f));
  float const f = sub_rn(mantissa, 1.0f);
  detail::LogSeries const parts = detail::log_series(f);
  float const low = mul_then_add(k, detail::kLn2LowF32, parts.series);
  float const value = sub_rn(mul_rn(k, detail::kLn2HighF32), sub_rn(sub_rn(parts.half_square, low), f));
  float const special = detail::choose(given == 0x7f800000u, x, bits_to<float>(kCanonicalNan32));
  float const of_nonzero = detail::choose(given >= 0x7f800000u, special, value);
  return detail::choose((given << 1) == 0, bits_to<float>(0xff800000u), of_nonzero);
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), without cancellation on either side.
SWITCHYARD_HD inline float softplus(float x) noexcept {
  float const decay = exp(-detail::magnitude(x));
  detail::LogSeries const parts = detail::log_series(decay);
  float const excess = sub_rn(decay, sub_rn(parts.half_square, parts.series));
  return detail::unless_nan(x, add_rn(detail::choose(detail::is_negative(x), 0.0f, x), excess));
}

/// 1 / (1 + e^-x). For a negative x it is e^x / (1 + e^x), so that small results keep their accuracy.
SWITCHYARD_HD inline float sigmoid(float x) noexcept {
  float const decay = exp(-detail::magnitude(x));
  float const below = add_rn(1.0f, decay);
  float const lost = sub_rn(decay, sub_rn(below, 1.0f));  // what 1 + decay rounded away, exact
  bool const negative = detail::is_negative(x);
  float const quotient = div_rn(detail::choose(negative, decay, 1.0f), below);
  // 1 / below, near enough for a first-order correction by what was lost.
  float const reciprocal = detail::choose(negative, sub_rn(1.0f, quotient), quotient);
  return detail::unless_nan(x, sub_rn(quotient, mul_rn(quotient, mul_rn(lost, reciprocal))));
}

/// Hyperbolic tangent, odd to the bit; -0 stays -0.
SWITCHYARD_HD inline float tanh(float x) noexcept {
  // (tanh(x)/x - 1) / x^2 on |x| <= 0.55
  float const coefficients[] = {-0x1.9a46bp-8f, 0x1.591010p-6f, -0x1.b9226cp-5f, 0x1.110cfcp-3f, -0x1.55554ap-2f};
  float const size = detail::magnitude(x);
  float const square = mul_rn(size, size);
  float const small = mul_then_add(mul_rn(size, square), detail::polynomial(square, coefficients), size);
  float const large = sub_rn(1.0f, div_rn(2.0f, add_rn(exp(add_rn(size, size)), 1.0f)));
  return detail::unless_nan(
      x, detail::with_sign_of(detail::choose(detail::magnitude_below(size, 0.55f), small, large), x));
}

/// The error function, odd to the bit; -0 stays -0.
SWITCHYARD_HD inline float erf(float x) noexcept {
  // erf(x)/x - 1 in x^2 on |x| <= 1
  float const near_zero[] = {0x1.48c126p-14f, -0x1.a3b9a4p-11f, 0x1.53fd96p-8f, -0x1.b7f822p-6f,
                             0x1.ce2ceep-4f,  -0x1.81273ep-2f,  0x1.06eba8p-3f};
  // ln(1 - erf(x)) on [1, 4]
  float const of_rest[] = {0x1.857cb2p-13f, -0x1.817e5ep-9f, 0x1.655b64p-6f,  -0x1.a61802p-4f,
                           -0x1.46c386p-1f, -0x1.208650p+0f, -0x1.70667cp-12f};
  float const size = detail::magnitude(x);
  float const bounded = detail::magnitude_at_most(size, 4.0f);
  float const small = mul_then_add(bounded, detail::polynomial(mul_rn(bounded, bounded), near_zero), bounded);
  float const large = sub_rn(1.0f, exp(detail::polynomial(bounded, of_rest)));
  return detail::unless_nan(x,
                            detail::with_sign_of(detail::choose(detail::magnitude_below(size, 1.0f), small, large), x));
}

}  // namespace switchyard::hd
