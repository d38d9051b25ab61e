// SPDX-License-Identifier: Apache-2.0
#include "system_probe.hpp"

namespace switchyard::cuda {

void report_nccl(SystemReport& report) noexcept {
  report.has_nccl = false;
}

}  // namespace switchyard::cuda
