// SPDX-License-Identifier: Apache-2.0
/// least_value: the least of numbers, in four lanes: a single chain of comparisons waits for each of them.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <span>

namespace switchyard::sim {

/// @return infinity for none. A minimum is the same in any order, but for NaN, which must not occur.
[[nodiscard]] inline double least_value(std::span<double const> values) noexcept {
  std::array<double, 4> lanes;
  lanes.fill(std::numeric_limits<double>::infinity());
  std::size_t i = 0;
  for (; i + 4 <= values.size(); i += 4)
    for (std::size_t lane = 0; lane < 4; ++lane) lanes[lane] = std::min(lanes[lane], values[i + lane]);
  for (; i < values.size(); ++i) lanes[0] = std::min(lanes[0], values[i]);
  return std::min(std::min(lanes[0], lanes[1]), std::min(lanes[2], lanes[3]));
}

}  // namespace switchyard::sim
