// SPDX-License-Identifier: Apache-2.0
/// PlanFile: whatever plan a file holds, told apart by content.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::cli {

struct PlanFile {
  bool group = false;                        ///< dispatch plans of several ranks, one per line
  std::vector<DispatchPlan> dispatch{};      ///< of one rank, or of the group
  std::optional<RebalancePlan> rebalance{};  ///< instead of them
};

/// @return whether a file holds routing records, which say no "kind" (docs/formats/loads.md).
[[nodiscard]] bool is_routing_recording(std::string const& text);

/// Reads a dispatch plan, a group of them, or a rebalance plan. @param file for messages.
/// @throws UsageError for another kind, Error as the readers do.
[[nodiscard]] PlanFile plan_file_of(std::string const& text, std::string const& file);

}  // namespace switchyard::cli
