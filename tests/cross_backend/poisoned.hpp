// SPDX-License-Identifier: Apache-2.0
/// Outputs that hold 0xa5 in every byte before a call, on the host and on the device: what a call leaves out shows.
#pragma once

#include <cstdint>
#include <cstring>

#include "switchyard/cuda/device_buffer.hpp"

namespace cross_backend {

inline constexpr std::uint8_t kPoisonByte = 0xa5;

template <typename T>
T poison() {
  T value;
  std::memset(static_cast<void*>(&value), kPoisonByte, sizeof value);
  return value;
}

template <typename T>
switchyard::cuda::DeviceBuffer poisoned(std::int64_t elements, switchyard::cuda::StreamView stream) {
  switchyard::cuda::DeviceBuffer buffer(elements * static_cast<std::int64_t>(sizeof(T)));
  switchyard::cuda::fill_bytes(buffer, kPoisonByte, stream);
  return buffer;
}

/// The whole buffer as a matrix.
template <typename T>
switchyard::TensorView device_matrix(switchyard::cuda::DeviceBuffer const& buffer, std::int64_t rows,
                                     std::int64_t columns) {
  return buffer.view(switchyard::dtype_of<T>::value, {rows, columns});
}

}  // namespace cross_backend
