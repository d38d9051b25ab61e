// SPDX-License-Identifier: Apache-2.0
/// The upper median, a value that was measured: of an even number of values the larger one in the middle.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

namespace switchyard::sim {

/// @param values at least one
inline double upper_median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// @return 0 for no values or where the median is below it.
inline double upper_median_or_zero(std::vector<double> values) {
  return values.empty() ? 0 : std::max(0.0, upper_median(std::move(values)));
}

}  // namespace switchyard::sim
