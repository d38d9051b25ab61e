// SPDX-License-Identifier: Apache-2.0
/// All-to-alls as a table in the manner of nccl-tests.
#pragma once

#include <string>

#include "alltoallv_table.hpp"

namespace switchyard::cli {

/// algbw and busbw in GB/s (10^9 bytes); ratio: floor over time, 1 is as fast as copying.
[[nodiscard]] std::string to_table(bench::AllToAllTable const& table);

}  // namespace switchyard::cli
