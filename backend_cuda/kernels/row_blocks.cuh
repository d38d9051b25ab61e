// SPDX-License-Identifier: Apache-2.0
/// Concatenated blocks of rows, one per rank: where each starts, and which one a row is in.
#pragma once

#include <cstdint>

#include "plan_tile.cuh"

namespace switchyard::cuda {

/// One warp writes inclusive sums behind a zero. @param starts [world + 1]
__device__ inline void sum_blocks(std::int64_t const* rows, std::int32_t world, std::int32_t* starts) {
  std::uint32_t before = 0;
  if (lane_of_thread() == 0) starts[0] = 0;
  for (std::int32_t first = 0; first < world; first += kWarp) {
    std::int32_t const rank = first + lane_of_thread();
    std::uint32_t const sum = inclusive_in_warp(rank < world ? static_cast<std::uint32_t>(rows[rank]) : 0U);
    if (rank < world) starts[rank + 1] = static_cast<std::int32_t>(before + sum);
    before += __shfl_sync(kAllLanes, sum, kWarp - 1);
  }
}

/// How many of the ascending numbers in [first, end) are below `value`.
template <typename T>
__device__ std::int64_t count_below(T const* first, T const* end, std::int64_t value) {
  T const* low = first;
  while (low < end) {
    T const* const middle = low + (end - low) / 2;
    if (*middle < value)
      low = middle + 1;
    else
      end = middle;
  }
  return low - first;
}

/// Among `count` blocks that start at ascending `starts`, with their end behind the last: the one that holds `row`.
template <typename T>
__device__ std::int32_t block_of(T const* starts, std::int32_t count, std::int64_t row) {
  return static_cast<std::int32_t>(count_below(starts, starts + count + 1, row + 1)) - 1;
}

}  // namespace switchyard::cuda
