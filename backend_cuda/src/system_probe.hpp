// SPDX-License-Identifier: Apache-2.0
/// The parts of a SystemReport that need a kernel or NCCL's header.
#pragma once

#include "switchyard/cuda/system.hpp"

namespace switchyard::cuda {

/// Whether this build has code for the current device.
[[nodiscard]] bool current_device_has_code() noexcept;
/// Fills the fields about NCCL.
void report_nccl(SystemReport& report) noexcept;

}  // namespace switchyard::cuda
