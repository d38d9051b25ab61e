// SPDX-License-Identifier: Apache-2.0
/// What verdicts need to know of a validated curve: which plans compare, and how sure its points are.
#pragma once

#include <string>

#include "switchyard/sim/validation.hpp"

namespace switchyard::sim {

/// @return operation and system, of alltoallv the run as well: its patterns compare within one only.
[[nodiscard]] std::string rivals_of(MeasuredCurve const& measured);

/// Sets the rivals of `result` and the spreads of its points.
void prepare_verdicts(CurveValidation& result, MeasuredCurve const& measured);

}  // namespace switchyard::sim
