// SPDX-License-Identifier: Apache-2.0
/// The dispatches that a dispatcher recorded, as plans by step, layer and micro-batch, and their traffic.
#pragma once

#include <string>
#include <vector>

#include "commands/recordings_input.hpp"
#include "commands/simulate_inputs.hpp"

namespace switchyard::cli {

/// Layers ascend within a step, and calls of one layer that follow each other are its micro-batches. A recording of one
/// layer number alone, or of none, has one layer per step, or --layers and --batches of them.
/// @param text of all files, for the digest.
/// @throws UsageError naming dispatch, step and layer: calls that are no whole steps, ranks that disagree, a routing
/// that cannot be planned, recorded counts that are not those of the routing.
[[nodiscard]] TimedPlans recorded_plans(Recordings const& recordings, std::string const& text,
                                        ParsedOptions const& options);

/// @return the phases of every call, in order, equally many each; names end in the call's.
[[nodiscard]] std::vector<sim::TrafficPhase> phases_of_calls(std::vector<TimedPlans> const& calls,
                                                             ParsedOptions const& options,
                                                             sim::ClusterSpec const& cluster);

}  // namespace switchyard::cli
