// SPDX-License-Identifier: Apache-2.0
/// Kernels that follow each other closely: the next one's blocks come up while the one before runs, and wait for its
/// end and its writes before they read or write anything. Where a device cannot, kernels follow each other as ever.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda_error.hpp"
#include "plan_close.cuh"
#include "switchyard/cuda/stream.hpp"

namespace switchyard::cuda {

[[nodiscard]] inline bool launches_closely() {
  constexpr int kFirstMajor = 9;
  int device = 0;
  int major = 0;
  SWITCHYARD_CUDA_TRY(cudaGetDevice(&device));
  SWITCHYARD_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major >= kFirstMajor;
}

/// Launches `kernel` behind the one that was launched to `stream` before it and calls let_next_kernel_come().
/// @throws Error{cuda}
template <typename... Params>
void launch_close(char const* name, void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
                  StreamView stream, Params const&... params) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream.handle();
  config.attrs = &attribute;
  config.numAttrs = launches_closely() ? 1 : 0;
  SWITCHYARD_CUDA_TRY(cudaLaunchKernelEx(&config, kernel, params...));
  check_launch(name);
}

}  // namespace switchyard::cuda
