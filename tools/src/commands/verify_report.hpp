// SPDX-License-Identifier: Apache-2.0
/// VerifyReport: what `switchyard verify` found out about a plan or schedule file, as a table or as JSON.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "switchyard/cpu/rehearsal.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"

namespace switchyard::cli {

/// One run on emulated ranks.
struct RehearsalOutcome {
  cpu::RebalanceMode mode = cpu::RebalanceMode::buffered;
  cpu::RehearsalReport report;
  std::string error{};  ///< why the run ended early; empty when it came to its end
};

struct VerifyReport {
  std::string file;
  /// Absent when the file's own digest refused it.
  std::optional<std::variant<RebalancePlan, RebalanceSchedule>> plan{};
  std::string refusal{};  ///< then the reason
  std::vector<PlanViolation> violations{};
  std::vector<RehearsalOutcome> rehearsals{};  ///< none when the proof failed

  /// @return whether everything was run and nothing is wrong.
  [[nodiscard]] bool good() const;
};

[[nodiscard]] std::string to_table(VerifyReport const& report);
/// @return one JSON object with schema_version.
[[nodiscard]] std::string to_json(VerifyReport const& report);

}  // namespace switchyard::cli
