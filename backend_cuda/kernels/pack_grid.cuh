// SPDX-License-Identifier: Apache-2.0
/// The grid of kernels whose threads own a pack of columns of one sum: packs over its x, sums over its y.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

__device__ inline std::int64_t first_sum() {
  return static_cast<std::int64_t>(blockIdx.y) * blockDim.y + threadIdx.y;
}
__device__ inline std::int64_t sum_stride() {
  return static_cast<std::int64_t>(gridDim.y) * blockDim.y;
}

struct PackGrid {
  dim3 grid;
  dim3 block;
};
/// A thread per pack; short rows share a block.
inline PackGrid pack_grid(std::int64_t sums, std::int64_t packs) {
  constexpr std::int64_t kThreads = 128;
  constexpr std::int64_t kWarp = 32;
  constexpr std::int64_t kMostInY = 65535;
  std::int64_t const across = packs < kThreads ? (packs + kWarp - 1) / kWarp * kWarp : kThreads;
  std::int64_t const rows = kThreads / across;
  std::int64_t const down = (sums + rows - 1) / rows;
  return {dim3(static_cast<unsigned>((packs + across - 1) / across),
               static_cast<unsigned>(down < kMostInY ? down : kMostInY)),
          dim3(static_cast<unsigned>(across), static_cast<unsigned>(rows))};
}

}  // namespace switchyard::cuda
