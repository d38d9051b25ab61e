// SPDX-License-Identifier: Apache-2.0
/// Which policy makes the plan: the one asked for, or the best of all with a table of what each one would give.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planning/incremental_choice.hpp"
#include "planning/plan_inputs.hpp"
#include "planning/report_section.hpp"

namespace switchyard::cli {

struct PolicyChoice {
  std::string name;
  std::string note;  ///< the name with the variant it took
  ExpertPlacement after;
  std::optional<ReportSection> comparison{};  ///< of all policies
  std::vector<ParetoPoint> pareto{};          ///< of the incremental policy
  std::optional<ReportSection> duplicates{};  ///< of the incremental policy
};

/// @return the names that --policy takes: those of the library and "all".
[[nodiscard]] std::vector<std::string> policy_choices();

/// Of option --policy. "all": the lowest mean PAR wins, then the fewest fetches, then the order of the names. Policies
/// that refuse the request are listed with their reason. @throws UsageError when every policy refuses.
[[nodiscard]] PolicyChoice choose_policy(ParsedOptions const& options, PlanInputs const& inputs);

}  // namespace switchyard::cli
