// SPDX-License-Identifier: Apache-2.0
/// device_list(): memory for a list of numbers or records on the device; clear_now(): zeros in it.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

/// @throws Error{invalid_argument} for a negative count or one that overflows, Error{out_of_memory}
template <typename T>
[[nodiscard]] DeviceBuffer device_list(std::int64_t count) {
  return DeviceBuffer(checked_mul(count, static_cast<std::int64_t>(sizeof(T))));
}

/// Zeros, which are there when it returns: for memory that is read before anybody has stored to all of it.
inline void clear_now(std::initializer_list<DeviceBuffer const*> buffers) {
  Stream const stream;
  for (DeviceBuffer const* buffer : buffers) fill_bytes(*buffer, 0, stream);
  stream.view().synchronize();
}

}  // namespace switchyard::cuda
