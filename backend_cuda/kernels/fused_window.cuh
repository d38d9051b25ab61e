// SPDX-License-Identifier: Apache-2.0
/// Addresses inside the windows of the fused path.
#pragma once

#include <cstdint>

#include "fused_kernels.hpp"
#include "system_words.cuh"

namespace switchyard::cuda {

__device__ inline std::int64_t count_of(FusedRemoteRows const& rows) {
  return rows.count_on_device != nullptr ? *rows.count_on_device : rows.count;
}

/// Slot `slot` of the half that operation `generation` uses in `window`.
__device__ inline std::byte* slot_of(FusedWindows const& windows, std::byte* window, std::uint64_t generation,
                                     std::int64_t slot) {
  return window + windows.slots_offset + static_cast<std::int64_t>(generation & 1) * windows.half_bytes +
         slot * windows.slot_bytes;
}
/// Holds the number of the operation whose row the slot holds.
__device__ inline std::uint64_t* tag_of(FusedWindows const& windows, std::byte* window, std::uint64_t generation,
                                        std::int64_t slot) {
  std::int64_t const slots = windows.world * windows.capacity;
  return reinterpret_cast<std::uint64_t*>(window + windows.tags_offset) +
         static_cast<std::int64_t>(generation & 1) * slots + slot;
}
/// Words in which `rank` announces its choices to the owner of `window`, generation << 16 | choice.
__device__ inline std::uint64_t* words_of(FusedWindows const& windows, std::byte* window, std::uint64_t generation,
                                          int rank) {
  std::int64_t const half = static_cast<std::int64_t>(generation & 1) * windows.world;
  return reinterpret_cast<std::uint64_t*>(window + windows.words_offset) + (half + rank) * windows.words;
}
/// What `rank` tells the owner of `window` about operation `generation`.
__device__ inline FusedSignal* signal_of(FusedWindows const& windows, std::byte* window, std::uint64_t generation,
                                         int rank) {
  return reinterpret_cast<FusedSignal*>(window) + static_cast<std::int64_t>(generation & 1) * windows.world + rank;
}
/// Nonzero once `rank` has failed, in whatever operation.
__device__ inline std::uint64_t* failure_of(FusedWindows const& windows, std::byte* window, int rank) {
  return &signal_of(windows, window, 0, rank)->failed;
}

}  // namespace switchyard::cuda
