// SPDX-License-Identifier: Apache-2.0
/// What a narrow float format is, from its definition: a table of values, and rounding as a search for the nearest one.
///
/// Written from the OCP FP8 and IEEE 754 definitions with ldexp in double, where every value and every midpoint of
/// these formats is exact; no bit trick of the library is used.
///
/// Worked example, E4M3 (3 mantissa bits, bias 7): code 0x01 = 2^-9, the midpoint to 0 is 2^-10, a tie, and goes to the
/// even code 0. Code 0x7e = 448; the next value would be 480, the midpoint 464 goes to the even code 0x7e, anything
/// above is beyond the format.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace oracle {

struct Minifloat {
  int mantissa_bits;
  int bias;
  std::uint32_t largest_finite;  ///< code, sign excluded
  std::uint32_t sign_bit;
  std::uint32_t nan;       ///< the canonical one
  std::uint32_t beyond;    ///< code of finite values past the range, unless it is the NaN: then without a sign
  std::uint32_t infinity;  ///< code that an infinity becomes
};

inline double value_of_code(Minifloat const& format, std::uint32_t code) {
  std::uint32_t const per_binade = 1u << format.mantissa_bits;
  double const fraction = static_cast<double>(code % per_binade) / per_binade;
  int const exponent = static_cast<int>(code / per_binade);
  return exponent == 0 ? std::ldexp(fraction, 1 - format.bias) : std::ldexp(1.0 + fraction, exponent - format.bias);
}

inline std::uint32_t float_bits(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// Where rounding changes: first_float[c] is the bit pattern of the smallest non-negative float that rounds to code c,
/// for c up to largest_finite, and one more entry for "beyond".
struct RoundingSteps {
  Minifloat format;
  std::vector<std::uint32_t> first_float;
};

inline RoundingSteps rounding_steps(Minifloat const& format) {
  RoundingSteps steps{format, {0}};
  for (std::uint32_t code = 1; code <= format.largest_finite + 1; ++code) {
    double const midpoint = (value_of_code(format, code - 1) + value_of_code(format, code)) / 2;
    std::uint32_t const at_midpoint = float_bits(static_cast<float>(midpoint));  // exact
    bool const tie_goes_up = code % 2 == 0;
    steps.first_float.push_back(tie_goes_up ? at_midpoint : at_midpoint + 1);
  }
  return steps;
}

/// The code of the float with these bits. `hint` holds the step found last time: sweeps in ascending order are linear.
inline std::uint32_t round_to_code(RoundingSteps const& steps, std::uint32_t bits, std::size_t& hint) {
  std::uint32_t const magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return steps.format.nan;
  std::uint32_t const sign = (bits >> 31) != 0 ? steps.format.sign_bit : 0u;
  if (magnitude == 0x7f800000u) return steps.format.infinity | (steps.format.infinity == steps.format.nan ? 0u : sign);
  while (hint > 0 && magnitude < steps.first_float[hint]) --hint;
  while (hint + 1 < steps.first_float.size() && magnitude >= steps.first_float[hint + 1]) ++hint;
  if (hint <= steps.format.largest_finite) return sign | static_cast<std::uint32_t>(hint);
  return steps.format.beyond | (steps.format.beyond == steps.format.nan ? 0u : sign);
}

inline constexpr Minifloat kBf16{7, 127, 0x7f7f, 0x8000, 0x7fff, 0x7f80, 0x7f80};
inline constexpr Minifloat kF16{10, 15, 0x7bff, 0x8000, 0x7fff, 0x7c00, 0x7c00};
inline constexpr Minifloat kE4m3Saturating{3, 7, 0x7e, 0x80, 0x7f, 0x7e, 0x7e};
inline constexpr Minifloat kE4m3{3, 7, 0x7e, 0x80, 0x7f, 0x7f, 0x7f};
inline constexpr Minifloat kE5m2Saturating{2, 15, 0x7b, 0x80, 0x7f, 0x7b, 0x7b};
inline constexpr Minifloat kE5m2{2, 15, 0x7b, 0x80, 0x7f, 0x7c, 0x7c};

}  // namespace oracle
