// SPDX-License-Identifier: Apache-2.0
#include <nccl.h>

#include "system_probe.hpp"

namespace switchyard::cuda {

void report_nccl(SystemReport& report) noexcept {
  report.has_nccl = true;
  report.nccl_built = NCCL_VERSION_CODE;
  if (ncclGetVersion(&report.nccl_loaded) != ncclSuccess) report.nccl_loaded = 0;
}

}  // namespace switchyard::cuda
