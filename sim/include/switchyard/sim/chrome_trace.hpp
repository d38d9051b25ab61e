// SPDX-License-Identifier: Apache-2.0
/// ChromeTrace: a timeline as a file for chrome://tracing and Perfetto.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/sim/timeline.hpp"

namespace switchyard::sim {

/// What viewers load without trouble: about 180 MB.
inline constexpr std::int64_t kMaxTaskEvents = 1'000'000;

/// The ranks whose tasks fit into `max_events`, whole tracks only: those of the critical path in its order, then the
/// others ascending, up to the first that does not fit; at least one.
/// @return ascending. @throws Error{shape_mismatch} for the timeline of another graph.
[[nodiscard]] std::vector<int> traced_ranks(TaskGraph const& graph, Timeline const& timeline,
                                            std::int64_t max_events = kMaxTaskEvents);

/// JSON of the trace event format: process r is rank r with a track per stream, one more process "links" has a track
/// per link class, on which one event is a time with one set of exchanges under way, and a counter of the part of the
/// class's capacity that they use (an exchange's bytes count evenly over its time). Arrows lead along the critical
/// path. Times are in microseconds with three decimals; events of a track do not overlap and do not go backwards;
/// tasks that take no time are left out, as are ranks beyond traced_ranks(); "otherData" says how many are shown.
/// @param name of the trace, any bytes. @return the same bytes for the same timeline.
/// @throws Error{shape_mismatch} for the timeline of another graph.
[[nodiscard]] std::string to_chrome_trace(TaskGraph const& graph, Timeline const& timeline,
                                          ClusterTopology const& topology, std::string const& name,
                                          std::int64_t max_events = kMaxTaskEvents);

}  // namespace switchyard::sim
