// SPDX-License-Identifier: Apache-2.0
/// SimulateReport: what a plan costs on a cluster, for people and as JSON.
#pragma once

#include <string>
#include <vector>

#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/plan_cost.hpp"
#include "timeline/variations.hpp"

namespace switchyard::cli {

struct SimulateReport {
  std::string plan_name;
  std::string plan_kind;  ///< "dispatch", "rebalance" or "routing"
  std::string plan_digest;
  sim::ClusterSpec cluster;
  std::string cluster_digest;
  sim::Fidelity fidelity{};
  sim::PlanCost cost;
  bool varied = false;                     ///< `variations` were asked for
  std::vector<Variation> variations{};     ///< of this one plan
  std::vector<sim::FittedCurve> curves{};  ///< all-to-all times used inside a node; empty = none
  bool all_phases = false;                 ///< the table lists more than the slowest ones
};

[[nodiscard]] std::string to_table(SimulateReport const& report);
/// @return a header and one line per phase, RFC 4180.
[[nodiscard]] std::string to_csv(SimulateReport const& report);
/// Where the times come from, in one sentence. @param curves of the costs, empty without.
[[nodiscard]] std::string basis_text(std::vector<sim::FittedCurve> const& curves);
/// @return one JSON object with schema_version, units in its keys.
[[nodiscard]] std::string to_json(SimulateReport const& report);

}  // namespace switchyard::cli
