// SPDX-License-Identifier: Apache-2.0
/// EmulatedLanes: the 32 lanes of a hd::LaneCrew as loops on the CPU, so that what a warp computes can be tested
/// without a GPU.
#pragma once

#include <algorithm>

#include "switchyard/hd/lane_crew.hpp"

namespace support {

struct EmulatedLanes {
  template <typename T>
  struct PerLane {
    T values[switchyard::hd::kSumLanes];
    T& operator[](int lane) noexcept { return values[lane]; }
  };

  /// Lanes descending: a warp promises no order between two meetings.
  template <typename Work>
  static void run(Work const& work) noexcept {
    for (int lane = switchyard::hd::kSumLanes - 1; lane >= 0; --lane) work(lane);
  }
  static float sum(PerLane<float>& lanes) noexcept { return switchyard::hd::lane32_join(lanes.values); }
  template <typename T>
  static T largest(PerLane<T>& lanes) noexcept {
    return *std::max_element(lanes.values, lanes.values + switchyard::hd::kSumLanes);
  }
  template <typename T>
  static T smallest(PerLane<T>& lanes) noexcept {
    return *std::min_element(lanes.values, lanes.values + switchyard::hd::kSumLanes);
  }
};

}  // namespace support
