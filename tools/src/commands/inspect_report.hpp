// SPDX-License-Identifier: Apache-2.0
/// InspectReport: what a plan file holds, for people and as JSON.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::cli {

/// One of `dispatch` and `rebalance` is filled, neither when the file's own digest refused it.
struct InspectReport {
  std::string file;
  std::vector<DispatchPlan> dispatch{};  ///< one rank's plan, or those of a group
  bool group = false;                    ///< the file claims to hold all ranks
  std::optional<RebalancePlan> rebalance{};
  std::string refusal{};
  std::vector<std::string> violations{};  ///< "rule: sentence"

  [[nodiscard]] bool good() const { return refusal.empty() && violations.empty(); }
};

/// @return the stage's name in plan files.
[[nodiscard]] std::string_view name_of_stage(DispatchStage const& stage) noexcept;
/// @return digest of all plans of a group, of the plan itself when there is one.
[[nodiscard]] Fingerprint digest_of(std::span<DispatchPlan const> plans);
/// Fills the report with every rule that the plans break, group rules included.
void find_violations(InspectReport& report);

[[nodiscard]] std::string to_table(InspectReport const& report);
/// @return one JSON object with schema_version.
[[nodiscard]] std::string to_json(InspectReport const& report);

}  // namespace switchyard::cli
