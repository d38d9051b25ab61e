// SPDX-License-Identifier: Apache-2.0
#include "fused_grid.hpp"

#include <algorithm>

#include "cuda_error.hpp"

namespace switchyard::cuda {

void load_kernel(void const* kernel) {
  cudaFuncAttributes attributes{};
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, kernel));
}

int multiprocessors() {
  int device = 0;
  int count = 0;
  SWITCHYARD_CUDA_TRY(cudaGetDevice(&device));
  SWITCHYARD_CUDA_TRY(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

unsigned resident_blocks(void const* kernel, dim3 block, std::int64_t rows, int processors) {
  int per_processor = 0;
  SWITCHYARD_CUDA_TRY(
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, kernel, static_cast<int>(block.x * block.y), 0));
  std::int64_t const groups = (rows + block.y - 1) / block.y;
  std::int64_t const resident = std::int64_t{processors} * per_processor;
  return static_cast<unsigned>(std::clamp(groups, std::int64_t{1}, std::max(resident, std::int64_t{1})));
}

}  // namespace switchyard::cuda
