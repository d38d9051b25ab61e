// SPDX-License-Identifier: Apache-2.0
/// A certificate that a plain fp64 sum already rounds like the exact one, so that ExactSum is needed rarely.
///
/// For n terms, with products and additions rounded to fp64 in any order, |sum - exact| <= n * 2^-53 * M * (1 + tiny),
/// M being the sum of the terms' magnitudes (Higham, "Accuracy and stability of numerical algorithms", section 4.2).
/// Taking n * 2^-52 * M leaves a factor of two for M's own rounding. When that is at most 2^-38 |sum| and no rounding
/// boundary of the target lies that close to the sum, both round to the same bits. Otherwise the caller adds exactly.
///
/// fp32 weights: every product is exact in fp64 and stays away from its limits by itself. fp64 weights can overflow and
/// underflow; sums outside [2^-900, inf) are refused.
#pragma once

#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"
#include "switchyard/hd/convert.hpp"

namespace switchyard::hd {

/// A product in fp64: exact for fp32 weights, rounded for fp64 ones.
template <typename Weight, typename T>
SWITCHYARD_HD inline double product_in_double(Weight weight, T x) noexcept {
  return mul_rn(static_cast<double>(weight), static_cast<double>(widen(x)));
}

SWITCHYARD_HD inline double magnitude_of(double value) noexcept {
  return bits_to<double>(bits_to<std::uint64_t>(value) & 0x7fffffffffffffffu);
}

namespace detail {

inline constexpr double kRelativeError = 0x1p-38;

/// Whether a boundary between two neighbours of the target lies within 2^-38 of the sum, relatively; may say yes where
/// none does. `rounded` is the sum as a float.
template <typename Out>
struct NearBoundary;

template <>
struct NearBoundary<float> {
  static SWITCHYARD_HD bool check(double sum, float) noexcept {
    // A float keeps 24 of 53 bits: the 29 below them read 2^28 at a boundary. 2^-38 of the sum is at most 2^15 units.
    auto const below = static_cast<std::int64_t>(bits_to<std::uint64_t>(sum) & 0x1fffffffu);
    std::int64_t const distance = below - (std::int64_t{1} << 28);
    bool const near = distance <= (1 << 15) && distance >= -(1 << 15);
    return near || (magnitude_of(sum) < 0x1p-126 && sum != 0.0);
  }
};

// A boundary of a 16-bit type is itself a float. A sum whose float is another one is at least half a unit of the float
// away from it, relatively 2^-25, and on the same side as that float.
template <>
struct NearBoundary<bf16_t> {
  static SWITCHYARD_HD bool check(double, float rounded) noexcept {
    return (bits_to<std::uint32_t>(rounded) & 0xffffu) == 0x8000u;
  }
};

template <>
struct NearBoundary<f16_t> {
  static SWITCHYARD_HD bool check(double, float rounded) noexcept {
    std::uint32_t const bits = bits_to<std::uint32_t>(rounded);
    bool const subnormal = (bits & 0x7fffffffu) < 0x38800000u && rounded != 0.0f;  // of fp16, below 2^-14
    return subnormal || (bits & 0x1fffu) == 0x1000u;
  }
};

SWITCHYARD_HD inline bool products_in_range(float, double, double) noexcept {
  return true;
}
SWITCHYARD_HD inline bool products_in_range(double, double sum, double magnitude) noexcept {
  return magnitude_of(sum) >= 0x1p-900 && magnitude < 0x1p1023;
}

}  // namespace detail

/// @param sum, magnitude  the fp64 sums, started at +0, of the `count` products and of their magnitudes
/// @return whether `narrow<Out>(float(sum))` is the exact sum rounded once. False for a NaN.
template <typename Out, typename Weight>
SWITCHYARD_HD inline bool rounds_like_exact(double sum, double magnitude, std::int64_t count) noexcept {
  double const error = magnitude * (static_cast<double>(count) * 0x1p-52);
  bool const accurate = error <= magnitude_of(sum) * detail::kRelativeError;
  bool const in_range = detail::products_in_range(Weight{}, sum, magnitude);
  return accurate && in_range && !detail::NearBoundary<Out>::check(sum, static_cast<float>(sum));
}

}  // namespace switchyard::hd
