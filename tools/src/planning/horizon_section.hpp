// SPDX-License-Identifier: Apache-2.0
/// Apply or skip: what a better balance saves over a horizon against what the move costs.
#pragma once

#include "planning/plan_inputs.hpp"
#include "planning/report_section.hpp"

namespace switchyard::cli {

struct HorizonTerms {
  double windows = 0;  ///< how many windows like the recorded one the new placement will serve
  double row_ns = 0;   ///< time a GPU spends on one routed token of one layer
};

/// Every layer waits for its busiest GPU: a window takes the sum over layers of the largest rank loads times row_ns.
/// The move takes the makespan of its schedule.
[[nodiscard]] ReportSection horizon_section(PlanInputs const& inputs, ExpertPlacement const& after,
                                            HorizonTerms const& terms);

}  // namespace switchyard::cli
