// SPDX-License-Identifier: Apache-2.0
/// lane32, the default order of every float sum that no combine recipe names (DESIGN 2.6): lane j starts at +0 and adds
/// the elements j, j + 32, j + 64, ... in ascending order; then the 32 lanes are added in a tree of distances 16, 8, 4,
/// 2, 1. A warp does it with one lane per thread and xor shuffles, a CPU with a vector of 32 accumulators.
#pragma once

#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"

namespace switchyard::hd {

inline constexpr int kSumLanes = 32;

/// The tree. Addition commutes, so lane 0 of the xor tree is this sum. Overwrites the lanes; a NaN comes out canonical.
SWITCHYARD_HD inline float lane32_join(float (&lanes)[kSumLanes]) noexcept {
  for (int distance = kSumLanes / 2; distance > 0; distance /= 2)
    for (int lane = 0; lane < distance; ++lane) lanes[lane] = add_rn(lanes[lane], lanes[lane + distance]);
  return canonical(lanes[0]);
}

/// The lane32 sum of term(0), ..., term(count - 1). No terms give +0.
template <typename Term>
SWITCHYARD_HD inline float lane32_sum(std::int64_t count, Term const& term) noexcept {
  float lanes[kSumLanes] = {};
  std::int64_t first = 0;
  for (; first + kSumLanes <= count; first += kSumLanes)
    for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] = add_rn(lanes[lane], term(first + lane));
  for (int lane = 0; first + lane < count; ++lane) lanes[lane] = add_rn(lanes[lane], term(first + lane));
  return lane32_join(lanes);
}

/// Terms: the elements of an array, and the products of two arrays (rounded before they are added).
struct Elements {
  float const* values;
  SWITCHYARD_HD float operator()(std::int64_t i) const noexcept { return values[i]; }
};
struct Products {
  float const* left;
  float const* right;
  SWITCHYARD_HD float operator()(std::int64_t i) const noexcept { return mul_rn(left[i], right[i]); }
};

}  // namespace switchyard::hd
