// SPDX-License-Identifier: Apache-2.0
/// Addresses inside the windows of the fused path, and loads and stores that order what peers see.
#pragma once

#include <cstdint>

#include "fused_kernels.hpp"

namespace switchyard::cuda {

/// The first slot of `half` of a window.
__device__ inline std::byte* slots_of(FusedWindows const& windows, std::byte* window, std::uint64_t generation) {
  return window + windows.slots_offset + static_cast<std::int64_t>(generation & 1) * windows.half_bytes;
}
/// The half that the operation before its meeting writes.
__device__ inline std::uint64_t writing(FusedWindows const& windows) {
  return *windows.generation;
}
/// The half that it reads after the meeting, which advanced the generation.
__device__ inline std::uint64_t reading(FusedWindows const& windows) {
  return *windows.generation - 1;
}
__device__ inline bool has_failed(FusedWindows const& windows) {
  return *windows.error != 0;
}

}  // namespace switchyard::cuda
