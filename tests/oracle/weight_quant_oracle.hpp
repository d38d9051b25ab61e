// SPDX-License-Identifier: Apache-2.0
/// Weight-only integer codes as plain formulas: library rounding, range by sorting out NaNs first.
#pragma once

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace oracle {

struct WeightGroup {
  float scale = 0;
  int zero_point = 0;
  std::vector<int> codes{};  ///< in [0, 2^bits)
};

inline int weight_code(float x, float scale, int zero_point, int bits) {
  int const top = (1 << bits) - 1;
  float const steps = x / scale;
  if (std::isnan(steps)) return zero_point;
  double const shifted = std::nearbyint(static_cast<double>(steps)) + zero_point;
  return static_cast<int>(std::min(std::max(shifted, 0.0), static_cast<double>(top)));
}

inline WeightGroup quantise_weights(std::vector<float> const& x, int bits, bool symmetric) {
  std::vector<float> numbers = {0.0f};
  std::copy_if(x.begin(), x.end(), std::back_inserter(numbers), [](float value) { return !std::isnan(value); });
  float const most = *std::max_element(numbers.begin(), numbers.end());
  float const least = *std::min_element(numbers.begin(), numbers.end());
  int const codes = 1 << bits;
  WeightGroup group;
  if (symmetric) {
    group.zero_point = codes / 2;
    group.scale = std::max(most / static_cast<float>(codes / 2 - 1), std::fabs(least) / static_cast<float>(codes / 2));
    if (group.scale == 0.0f) group.scale = 1.0f;
  } else {
    group.scale = std::max(most - least, 1e-5f) / static_cast<float>(codes - 1);
    float const zero = std::fabs(least) / group.scale;
    group.zero_point =
        std::isnan(zero) ? 0 : static_cast<int>(std::min(std::nearbyint(static_cast<double>(zero)), codes - 1.0));
  }
  for (float const value : x) group.codes.push_back(weight_code(value, group.scale, group.zero_point, bits));
  return group;
}

}  // namespace oracle
