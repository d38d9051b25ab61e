// SPDX-License-Identifier: Apache-2.0
/// The HTML report of a plan: one file, no network, no script.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "commands/plan_report.hpp"
#include "planning/incremental_choice.hpp"
#include "planning/plan_inputs.hpp"

namespace switchyard::cli::html {

struct PlanPage {
  PlanReport const& report;
  PlanInputs const& inputs;
  ExpertPlacement const& after;
  RebalancePlan const& plan;
  std::vector<ParetoPoint> pareto{};  ///< empty: left out
};

/// @return the page; same plan, same bytes. Every name from outside is escaped.
[[nodiscard]] std::string plan_page(PlanPage const& page);

}  // namespace switchyard::cli::html
