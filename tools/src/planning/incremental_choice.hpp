// SPDX-License-Identifier: Apache-2.0
/// Plans with few moves: the incremental policy under limits, and its whole trade-off between moves and balance.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planning/plan_inputs.hpp"
#include "planning/report_section.hpp"
#include "switchyard/placement/incremental.hpp"

namespace switchyard::cli {

/// One point of the trade-off, over all layers.
struct ParetoPoint {
  std::int64_t moves = 0;
  double wait_ratio = 1;  ///< sum of the layers' largest rank figures, relative to nothing moved
};

/// @return the options that only the incremental policy takes.
[[nodiscard]] OptionTable incremental_options();
/// @throws UsageError for a limit that the chosen policy would ignore.
void require_limits_fit(ParsedOptions const& options, std::string const& policy);

[[nodiscard]] IncrementalResult run_incremental(ParsedOptions const& options, PlanInputs const& inputs);
[[nodiscard]] std::vector<ParetoPoint> pareto_of(IncrementalResult const& result);
/// How many slots repeated an expert on their GPU, how many still do, and why.
[[nodiscard]] ReportSection duplicates_section(IncrementalResult const& result);
[[nodiscard]] ReportSection pareto_section(std::vector<ParetoPoint> const& points, std::int64_t expert_bytes);

}  // namespace switchyard::cli
