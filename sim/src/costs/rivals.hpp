// SPDX-License-Identifier: Apache-2.0
/// rivals_of: which measured curves show plans that somebody could choose between.
#pragma once

#include <string>

#include "switchyard/sim/measured_curve.hpp"

namespace switchyard::sim {

/// @return operation and system, of alltoallv the run as well: its patterns compare within one only.
[[nodiscard]] std::string rivals_of(MeasuredCurve const& measured);

}  // namespace switchyard::sim
