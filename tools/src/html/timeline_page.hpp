// SPDX-License-Identifier: Apache-2.0
/// The HTML reports of `trace` and `simulate`: one file, no network, no script.
#pragma once

#include <string>

#include "commands/simulate_report.hpp"
#include "timeline/timeline_report.hpp"

namespace switchyard::cli::html {

/// @return the page; same run, same bytes. Every name from outside is escaped.
[[nodiscard]] std::string timeline_page(TimelineReport const& report, TimelineRun const& run);
/// @param run the timeline of the report's phases.
[[nodiscard]] std::string simulate_page(SimulateReport const& report, TimelineRun const& run);

}  // namespace switchyard::cli::html
