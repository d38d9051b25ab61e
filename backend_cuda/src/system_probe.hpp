// SPDX-License-Identifier: Apache-2.0
/// The parts of a SystemReport that need a kernel or NCCL's header.
#pragma once

#include "switchyard/cuda/system.hpp"

namespace switchyard::cuda {

/// Whether this build has code for the current device.
[[nodiscard]] bool current_device_has_code() noexcept;
/// Fills the fields about NCCL.
void report_nccl(SystemReport& report) noexcept;
/// As system_report(), but for Device::has_code: to know that takes a context on every device.
[[nodiscard]] SystemReport report_without_code();
/// @return the device's PCI address, as nvidia-smi writes it; empty where CUDA does not say it.
[[nodiscard]] std::string bus_of(int device);

/// @throws Error{unsupported} naming the current device, its architecture and those of this build when the build has no
/// kernels for it, Error{cuda} without a device. Asks CUDA once per device. @param what is being made
void require_device_code(char const* what);

}  // namespace switchyard::cuda
