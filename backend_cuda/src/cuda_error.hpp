// SPDX-License-Identifier: Apache-2.0
/// How a failed CUDA call becomes an Error. Free of fmt, so that kernels may include it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

/// @throws Error{cuda} naming the call, CUDA's name and text, and the likely cause of the common ones.
[[noreturn]] void throw_cuda_error(cudaError_t status, char const* call, char const* file, int line);

/// @throws Error{unsupported} saying that `what` cannot have this dtype.
[[noreturn]] void throw_unsupported_dtype(char const* what, DType dtype);

/// Turns a refused kernel launch into Error{cuda}. Call right after the launch.
void check_launch(char const* kernel, char const* file = __builtin_FILE(), int line = __builtin_LINE());

/// Threads per block and the grid of a grid-stride kernel over `count` work items, of one block at least; count >= 0.
inline constexpr unsigned kBlockThreads = 256;
[[nodiscard]] inline unsigned grid_blocks(std::int64_t count) noexcept {
  constexpr std::int64_t kMaxBlocks = 65535;
  std::int64_t const blocks = (count - 1) / kBlockThreads + 1;
  return static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

}  // namespace switchyard::cuda

/// Throws Error{cuda} unless `call` returns cudaSuccess.
#define SWITCHYARD_CUDA_TRY(call)                                                         \
  do {                                                                                    \
    cudaError_t const switchyard_status = (call);                                         \
    if (switchyard_status != cudaSuccess)                                                 \
      ::switchyard::cuda::throw_cuda_error(switchyard_status, #call, __FILE__, __LINE__); \
  } while (false)
