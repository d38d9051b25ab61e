// SPDX-License-Identifier: Apache-2.0
/// WarpLanes: the threads of a warp as the lanes of hd::LaneCrew. Whole warps call everything here.
#pragma once

#include <cstdint>

#include "switchyard/hd/lane_crew.hpp"

namespace switchyard::cuda {

/// Marked for the host as well, because hd's functions are; there is nothing for a host to run.
struct WarpLanes {
  template <typename T>
  struct PerLane {
    T value;
    SWITCHYARD_HD T& operator[](int) noexcept { return value; }
  };

  template <typename Work>
  SWITCHYARD_HD static void run(Work const& work) noexcept {
#if defined(__CUDA_ARCH__)
    work(static_cast<int>(threadIdx.x % hd::kSumLanes));
    __syncwarp();
#else
    static_cast<void>(work);
#endif
  }
  SWITCHYARD_HD static float sum(PerLane<float>& lanes) noexcept {
    float sum = lanes.value;
#if defined(__CUDA_ARCH__)
    for (int distance = hd::kSumLanes / 2; distance > 0; distance /= 2)
      sum = hd::add_rn(sum, __shfl_xor_sync(0xffffffffu, sum, distance));
#endif
    return hd::canonical(sum);
  }
  template <typename T>
  SWITCHYARD_HD static T largest(PerLane<T>& lanes) noexcept {
#if defined(__CUDA_ARCH__)
    return __reduce_max_sync(0xffffffffu, lanes.value);
#else
    return lanes.value;
#endif
  }
  template <typename T>
  SWITCHYARD_HD static T smallest(PerLane<T>& lanes) noexcept {
#if defined(__CUDA_ARCH__)
    return __reduce_min_sync(0xffffffffu, lanes.value);
#else
    return lanes.value;
#endif
  }
};

using WarpCrew = hd::LaneCrew<WarpLanes>;

}  // namespace switchyard::cuda
