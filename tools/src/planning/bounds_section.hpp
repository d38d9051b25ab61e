// SPDX-License-Identifier: Apache-2.0
/// How close a plan comes to what no plan can beat: balance, bytes and rounds.
#pragma once

#include "planning/plan_inputs.hpp"
#include "planning/report_section.hpp"

namespace switchyard::cli {

/// @param full also solves the fractional split (max-flow) and the fewest fetches (assignment).
[[nodiscard]] ReportSection bounds_section(PlanInputs const& inputs, ExpertPlacement const& after,
                                           RebalancePlan const& plan, bool full);

}  // namespace switchyard::cli
