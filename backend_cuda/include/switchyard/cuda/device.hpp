// SPDX-License-Identifier: Apache-2.0
/// Which CUDA devices this process can use. No CUDA header is needed to include this.
#pragma once

#include <string>

namespace switchyard::cuda {

/// @return how many devices the driver offers; 0 without a driver or a device (never throws for that).
[[nodiscard]] int device_count() noexcept;

/// @return e.g. "NVIDIA H100 80GB HBM3, compute capability 9.0, CUDA runtime 13.0, driver 13.0" of the current device.
/// @throws Error{cuda}
[[nodiscard]] std::string describe_device();

}  // namespace switchyard::cuda
