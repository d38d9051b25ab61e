// SPDX-License-Identifier: Apache-2.0
/// SweepReport: times of one or two plans over the values of a constant, as table, JSON and CSV.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "switchyard/sim/plan_cost.hpp"

namespace switchyard::cli {

struct SweepPoint {
  double value = 0;
  std::vector<sim::PlanCost> costs{};  ///< of each plan
  std::string verdict{};
};

/// Between two values the verdict is another one.
struct VerdictChange {
  double below = 0, above = 0;
  std::string from, to;
};

struct SweepReport {
  std::vector<std::string> plans{};
  std::string cluster{};
  std::string constant{};
  std::vector<SweepPoint> points{};
  std::vector<VerdictChange> changes{};
};

/// @return for one plan what binds its longest phase: a class of links, "experts", or "latency and messages" where no
///         link does; for two plans "A", "B" or "equal".
[[nodiscard]] std::string verdict_of(std::span<sim::PlanCost const> costs);

[[nodiscard]] std::string to_table(SweepReport const& report);
[[nodiscard]] std::string to_json(SweepReport const& report);
[[nodiscard]] std::string to_csv(SweepReport const& report);

}  // namespace switchyard::cli
