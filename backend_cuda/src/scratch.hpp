// SPDX-License-Identifier: Apache-2.0
/// Scratch memory that only grows, so that steps of equal size allocate once. Contents are undefined after reserve().
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/pinned_buffer.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

/// NCCL's kernels load whole words of up to 16 bytes around the ends of a message: no allocation that a message may lie
/// in ends inside one. (On the device every allocation is longer anyway; memcheck counts bytes.)
inline constexpr std::int64_t kMessageWordBytes = 16;

/// @note growing frees the old buffer, which waits for the device: no work in flight loses its memory.
class DeviceScratch {
 public:
  void* reserve(std::int64_t bytes) {
    if (bytes > buffer_.size_bytes()) {
      buffer_ = DeviceBuffer();
      buffer_ = DeviceBuffer(checked_add(bytes, kMessageWordBytes - 1) / kMessageWordBytes * kMessageWordBytes);
    }
    return buffer_.data();
  }
  template <typename T>
  T* reserve_elements(std::int64_t count) {
    return static_cast<T*>(reserve(checked_mul(count, static_cast<std::int64_t>(sizeof(T)))));
  }

 private:
  DeviceBuffer buffer_;
};

class PinnedScratch {
 public:
  std::byte* reserve(std::int64_t bytes) {
    if (bytes > buffer_.size_bytes()) {
      buffer_ = PinnedBuffer();
      buffer_ = PinnedBuffer(bytes);
    }
    return buffer_.data();
  }

 private:
  PinnedBuffer buffer_;
};

}  // namespace switchyard::cuda
