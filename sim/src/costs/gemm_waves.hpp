// SPDX-License-Identifier: Apache-2.0
/// Waves: what the row tiles of a grouped GEMM take on a number of SMs.
#pragma once

#include "switchyard/sim/grouped_gemm.hpp"

namespace switchyard::sim {

/// @param row_tiles of all experts. @param sms 0 = as measured.
[[nodiscard]] double waves_us(GroupedGemmCost const& cost, double row_tiles, double sms);

}  // namespace switchyard::sim
