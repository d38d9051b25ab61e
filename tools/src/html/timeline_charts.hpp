// SPDX-License-Identifier: Apache-2.0
/// The drawings of a timeline: streams over time, links over time, and what the time hangs on. Each returns inline SVG.
#pragma once

#include <string>
#include <vector>

#include "timeline/timeline_inputs.hpp"

namespace switchyard::cli::html {

/// @return the colour of tasks of a kind.
[[nodiscard]] std::string kind_colour(sim::TaskKind kind);

/// One row per stream, ranks ascending; more than 24 ranks: the first ones and those of the critical path. Tasks
/// narrower than a pixel are drawn as one.
[[nodiscard]] std::string stream_chart(TimelineRun const& run);
/// One row per link class, darker the more of its capacity is in use.
[[nodiscard]] std::string link_chart(TimelineRun const& run);
/// Bars from the time with a constant 20 % lower to that with it 20 % higher, the longest first.
/// @param us the time with all constants as they are, above 0.
[[nodiscard]] std::string variation_chart(std::vector<Variation> const& variations, double us);

}  // namespace switchyard::cli::html
