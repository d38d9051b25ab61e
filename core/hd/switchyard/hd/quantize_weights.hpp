// SPDX-License-Identifier: Apache-2.0
/// Weight-only integer codes of a group: scale and zero point from its range, and the code of one value. Unfused fp32
/// in the order written here; rounding to nearest, ties to even.
///
/// NaN: left out of the range; its code is the zero point, so it reads back as 0. Infinity, or a range beyond the
/// largest float: the scale is infinite, every code is the zero point, and the group reads back as NaN.
#pragma once

#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"
#include "switchyard/hd/math_f32.hpp"

namespace switchyard::hd {

/// Least and largest value of a group and zero: a group on one side of zero must still hold zero.
struct WeightRange {
  float least = 0.0f;
  float largest = 0.0f;
  SWITCHYARD_HD void include(float x) noexcept {
    if (x < least) least = x;  // false for a NaN
    if (x > largest) largest = x;
  }
};

struct WeightScale {
  float scale = 1.0f;
  std::int32_t zero_point = 0;
};

namespace detail {
/// The nearest integer to x within [-bound, bound], bound below 2^22; 0 for a NaN.
SWITCHYARD_HD inline std::int32_t nearest_within(float x, float bound) noexcept {
  constexpr float kRounder = 0x1.8p+23f;  // its last place is 1
  if (!(x == x)) return 0;
  float const bounded = with_sign_of(magnitude_at_most(magnitude(x), bound), x);
  return static_cast<std::int32_t>(sub_rn(add_rn(bounded, kRounder), kRounder));
}
SWITCHYARD_HD inline std::int32_t clamped(std::int32_t value, std::int32_t low, std::int32_t high) noexcept {
  return value < low ? low : value > high ? high : value;
}
}  // namespace detail

/// Codes [0, 2^bits): s = max(largest - least, 1e-5) / (2^bits - 1), z = nearest(-least / s).
SWITCHYARD_HD inline WeightScale ranged_weight_scale(WeightRange const& range, int bits) noexcept {
  std::int32_t const top = (1 << bits) - 1;
  float const width = sub_rn(range.largest, range.least);
  float const scale = div_rn(width > 1e-5f ? width : 1e-5f, static_cast<float>(top));
  float const zero = div_rn(detail::magnitude(range.least), scale);
  return {scale, detail::nearest_within(zero, static_cast<float>(top))};
}

/// Codes around z = 2^(bits-1): s = max(largest / (z - 1), -least / z); 1 where that is 0.
SWITCHYARD_HD inline WeightScale symmetric_weight_scale(WeightRange const& range, int bits) noexcept {
  std::int32_t const half = 1 << (bits - 1);
  float const above = div_rn(range.largest, static_cast<float>(half - 1));
  float const below = div_rn(detail::magnitude(range.least), static_cast<float>(half));
  float const scale = above > below ? above : below;
  return {scale > 0.0f ? scale : 1.0f, half};
}

/// nearest(x / s) + z within [0, 2^bits).
SWITCHYARD_HD inline std::int32_t encode_weight(float x, WeightScale const& scale, int bits) noexcept {
  constexpr float kBeyondAllCodes = 1024.0f;
  std::int32_t const steps = detail::nearest_within(div_rn(x, scale.scale), kBeyondAllCodes);
  return detail::clamped(steps + scale.zero_point, 0, (1 << bits) - 1);
}

}  // namespace switchyard::hd
