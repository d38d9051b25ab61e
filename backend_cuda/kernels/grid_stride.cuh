// SPDX-License-Identifier: Apache-2.0
/// The index arithmetic of a one-dimensional grid-stride kernel, in 64 bits.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

__device__ inline std::int64_t first_item() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t item_stride() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

}  // namespace switchyard::cuda
