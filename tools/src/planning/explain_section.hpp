// SPDX-License-Identifier: Apache-2.0
/// Why an expert moved: its load, its replicas and their GPUs before and after, and the copies that brought it there.
#pragma once

#include <string>
#include <vector>

#include "planning/plan_inputs.hpp"
#include "planning/report_section.hpp"

namespace switchyard::cli {

struct ExplainedExpert {
  int layer = 0;
  ExpertId expert{0};
};

/// "3:17,4:2" -> layer 3 expert 17, layer 4 expert 2. @throws UsageError for anything else or outside the sizes.
[[nodiscard]] std::vector<ExplainedExpert> parse_explained(std::string const& text, int num_layers, int num_experts);

[[nodiscard]] ReportSection explain_section(PlanInputs const& inputs, ExpertPlacement const& after,
                                            RebalancePlan const& plan, std::vector<ExplainedExpert> const& which);

}  // namespace switchyard::cli
