// SPDX-License-Identifier: Apache-2.0
/// The launcher that forms internal::byte_checksum on the device. Free of fmt, so that the kernel may include it.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"

namespace switchyard::cuda {

/// Sets *sum to internal::byte_checksum of `bytes` bytes at `data`; any alignment. Device memory. Asynchronous in
/// `stream`, no allocation. @throws Error{cuda}
void launch_byte_checksum(void const* data, std::int64_t bytes, std::uint64_t* sum, StreamView stream);

}  // namespace switchyard::cuda
