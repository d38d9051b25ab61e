// SPDX-License-Identifier: Apache-2.0
/// SimulateReport: what a plan costs on a cluster, for people and as JSON.
#pragma once

#include <string>
#include <vector>

#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/plan_cost.hpp"

namespace switchyard::cli {

struct SimulateReport {
  std::string plan_name;
  std::string plan_kind;  ///< "dispatch" or "rebalance"
  std::string plan_digest;
  sim::ClusterSpec cluster;
  std::string cluster_digest;
  sim::Fidelity fidelity{};
  sim::PlanCost cost;
  std::vector<sim::Sensitivity> sensitivities{};
  std::vector<sim::FittedCurve> curves{};  ///< all-to-all times used inside a node; empty = none
  bool all_phases = false;                 ///< the table lists more than the slowest ones
};

[[nodiscard]] std::string to_table(SimulateReport const& report);
/// @return one JSON object with schema_version, units in its keys.
[[nodiscard]] std::string to_json(SimulateReport const& report);

}  // namespace switchyard::cli
