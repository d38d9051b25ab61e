// SPDX-License-Identifier: Apache-2.0
/// scan_items(): where parts of a list begin, by one block.
#pragma once

#include <cstdint>
#include <cub/block/block_scan.cuh>

#include "cuda_error.hpp"

namespace switchyard::cuda {

using PlanScan = cub::BlockScan<std::int64_t, kBlockThreads>;

/// All threads of a block of kBlockThreads: begin[i] = the sum of value(j) for j < i, i in [0, count]. The block has
/// met when it returns. @param storage in shared memory
template <typename Value>
__device__ void scan_items(PlanScan::TempStorage& storage, std::int64_t count, std::int64_t* begin,
                           Value const& value) {
  std::int64_t before = 0;
  for (std::int64_t first = 0; first < count; first += kBlockThreads) {
    std::int64_t const item = first + threadIdx.x;
    std::int64_t own = 0;
    std::int64_t sum = 0;
    PlanScan(storage).ExclusiveSum(item < count ? value(item) : 0, own, sum);
    if (item < count) begin[item] = before + own;
    before += sum;
    __syncthreads();
  }
  if (threadIdx.x == 0) begin[count] = before;
  __syncthreads();
}

}  // namespace switchyard::cuda
