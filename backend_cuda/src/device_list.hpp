// SPDX-License-Identifier: Apache-2.0
/// device_list(): memory for a list of numbers or records on the device.
#pragma once

#include <cstdint>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

/// @throws Error{invalid_argument} for a negative count or one that overflows, Error{out_of_memory}
template <typename T>
[[nodiscard]] DeviceBuffer device_list(std::int64_t count) {
  return DeviceBuffer(checked_mul(count, static_cast<std::int64_t>(sizeof(T))));
}

}  // namespace switchyard::cuda
