// SPDX-License-Identifier: Apache-2.0
/// exp, log and the normal quantile in fp64, made of + - * /, the square root and bit operations only (all of them
/// correctly rounded by IEEE 754), so that every compiler and backend gives the same bits. libm promises no such thing.
///
/// Accuracy, tested against long double: exp and log within 1 ulp (2 promised), normal_quantile within 1e-14 relative.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"

namespace switchyard::hd {

namespace detail {

inline constexpr double kLog2E = 0x1.71547652b82fep+0;
// ln 2 in two parts. The high part ends in 21 zero bits, so that its product with an exponent is exact.
inline constexpr double kLn2High = 0x1.62e42feep-1;
inline constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

SWITCHYARD_HD inline double infinity() noexcept {
  return bits_to<double>(std::uint64_t{0x7ff0000000000000});
}
SWITCHYARD_HD inline double quiet_nan() noexcept {
  return bits_to<double>(kCanonicalNan64);
}

/// 2^exponent for a normal result: -1022 <= exponent <= 1023.
SWITCHYARD_HD inline double power_of_two(int exponent) noexcept {
  return bits_to<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

/// Horner, highest coefficient first, unfused.
template <std::size_t kCount>
SWITCHYARD_HD inline double polynomial(double x, double const (&coefficients)[kCount]) noexcept {
  double value = coefficients[0];
  for (std::size_t i = 1; i < kCount; ++i) value = mul_then_add(value, x, coefficients[i]);
  return value;
}

/// sum over n >= 0 of r^n / (n+2)!, for |r| <= ln(2)/2; 12 terms leave less than 2^-62 of exp(r).
SWITCHYARD_HD inline double exp_tail(double r) noexcept {
  double const coefficients[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
                                 1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
                                 1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        1.0 / 2.0};
  return polynomial(r, coefficients);
}

/// sum over n >= 1 of 2 s^2n / (2n+1), so that ln((1+s)/(1-s)) = 2s + s * this; |s| <= 0.1716.
SWITCHYARD_HD inline double log_tail(double s_squared) noexcept {
  double const coefficients[] = {2.0 / 23.0, 2.0 / 21.0, 2.0 / 19.0, 2.0 / 17.0, 2.0 / 15.0, 2.0 / 13.0,
                                 2.0 / 11.0, 2.0 / 9.0,  2.0 / 7.0,  2.0 / 5.0,  2.0 / 3.0};
  return mul_rn(s_squared, polynomial(s_squared, coefficients));
}

/// A positive finite number as mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)).
struct SplitDouble {
  double mantissa;
  int exponent;
};

SWITCHYARD_HD inline SplitDouble split_around_one(double x) noexcept {
  std::uint64_t bits = bits_to<std::uint64_t>(x);
  int exponent = 0;
  if (bits < 0x0010000000000000u) {
    // A subnormal. Its hidden bit ends up where the exponent field of the smallest normal number has its 1.
    for (; bits < 0x0010000000000000u; bits <<= 1) --exponent;
  }
  exponent += static_cast<int>(bits >> 52) - 1023;
  std::uint64_t const fraction = bits & 0x000fffffffffffffu;
  bool const upper = fraction >= 0x6a09e667f3bcdu;  // sqrt(2) - 1 as a fraction
  return {bits_to<double>(fraction | (upper ? 0x3fe0000000000000u : 0x3ff0000000000000u)), exponent + (upper ? 1 : 0)};
}

}  // namespace detail

/// e^x. Overflow gives +inf, underflow goes through the subnormals to +0, a NaN gives the canonical NaN.
SWITCHYARD_HD inline double exp(double x) noexcept {
  if (x != x) return detail::quiet_nan();
  if (x > 709.782712893384) return detail::infinity();
  if (x < -745.1332191019412) return 0.0;
  int const k = static_cast<int>(mul_then_add(x, detail::kLog2E, x < 0 ? -0.5 : 0.5));
  double const high = sub_rn(x, mul_rn(static_cast<double>(k), detail::kLn2High));
  double const low = mul_rn(static_cast<double>(k), detail::kLn2Low);
  double const r = sub_rn(high, low);
  double const lost = sub_rn(sub_rn(high, r), low);  // what r = high - low rounded away
  double const above_one = add_rn(r, mul_then_add(mul_rn(r, r), detail::exp_tail(r), lost));
  double const mantissa = add_rn(1.0, above_one);
  int const first = k / 2;  // two steps, so that neither factor leaves the normal range
  return mul_rn(mul_rn(mantissa, detail::power_of_two(first)), detail::power_of_two(k - first));
}

/// Natural logarithm. +-0 gives -inf, a negative number or NaN the canonical NaN, +inf itself.
SWITCHYARD_HD inline double log(double x) noexcept {
  if (x != x || x < 0.0) return detail::quiet_nan();
  if (x == 0.0) return -detail::infinity();
  if (x == detail::infinity()) return x;
  detail::SplitDouble const split = detail::split_around_one(x);
  double const f = sub_rn(split.mantissa, 1.0);
  double const s = div_rn(f, add_rn(2.0, f));
  // ln(1 + f) = f - f^2/2 + s * (f^2/2 + tail): the large terms are exact or nearly so, the rounded ones small.
  double const half_square = mul_rn(0.5, mul_rn(f, f));
  double const correction = mul_rn(s, add_rn(half_square, detail::log_tail(mul_rn(s, s))));
  double const exponent = static_cast<double>(split.exponent);
  double const low = mul_then_add(exponent, detail::kLn2Low, correction);
  double const tail = sub_rn(sub_rn(half_square, low), f);
  return sub_rn(mul_rn(exponent, detail::kLn2High), tail);
}

namespace detail {

// Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37 (1988): three
// rational approximations of degree 7 over 7 (PPND16), highest coefficient first.
SWITCHYARD_HD inline double quantile_centre(double q) noexcept {
  double const above[] = {2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4,
                          4.5921953931549871457e+4, 1.3731693765509461125e+4, 1.9715909503065514427e+3,
                          1.3314166789178437745e+2, 3.3871328727963666080e+0};
  double const below[] = {
      5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
      5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0};
  double const r = sub_rn(0.180625, mul_rn(q, q));
  return mul_rn(q, div_rn(polynomial(r, above), polynomial(r, below)));
}

SWITCHYARD_HD inline double quantile_shoulder(double r) noexcept {
  double const above[] = {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
                          1.27045825245236838258e+0, 3.64784832476320460504e+0, 5.76949722146069140550e+0,
                          4.63033784615654529590e+0, 1.42343711074968357734e+0};
  double const below[] = {
      1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
      6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0};
  return div_rn(polynomial(r, above), polynomial(r, below));
}

SWITCHYARD_HD inline double quantile_far_tail(double r) noexcept {
  double const above[] = {2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
                          2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e+0,
                          5.46378491116411436990e+0, 6.65790464350110377720e+0};
  double const below[] = {
      2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
      1.48753612908506148525e-2,  1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0};
  return div_rn(polynomial(r, above), polynomial(r, below));
}

}  // namespace detail

/// The x with P(N(0,1) <= x) = p. 0 gives -inf, 1 gives +inf, anything outside [0, 1] the canonical NaN.
SWITCHYARD_HD inline double normal_quantile(double p) noexcept {
  if (!(p >= 0.0 && p <= 1.0)) return detail::quiet_nan();
  if (p == 0.0) return -detail::infinity();
  if (p == 1.0) return detail::infinity();
  double const q = sub_rn(p, 0.5);
  if (q >= -0.425 && q <= 0.425) return detail::quantile_centre(q);
  double const r = sqrt_rn(-log(q < 0.0 ? p : sub_rn(1.0, p)));
  double const tail = r <= 5.0 ? detail::quantile_shoulder(sub_rn(r, 1.6)) : detail::quantile_far_tail(sub_rn(r, 5.0));
  return q < 0.0 ? -tail : tail;
}

}  // namespace switchyard::hd
