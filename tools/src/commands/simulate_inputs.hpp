// SPDX-License-Identifier: Apache-2.0
/// What the commands that time plans share: their options, the plan, the cluster, the network model and the costs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "commands/plan_file.hpp"
#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/plan_cost.hpp"

namespace switchyard::cli {

/// --cluster, --nodes, --fidelity, --row-bytes, --expert-bytes, --merge, --chunk-bytes, --costs, --system,
/// --expert-kernel.
[[nodiscard]] OptionTable timing_options();

/// @throws UsageError for one rank's plan of many, or a plan that breaks a rule.
[[nodiscard]] PlanFile read_plans(std::string const& file);
[[nodiscard]] int ranks_of(PlanFile const& plans);
[[nodiscard]] std::string digest_text(PlanFile const& plans);
/// A preset by name, as many nodes as `ranks` fill unless told; or a file.
[[nodiscard]] sim::ClusterSpec cluster_of(ParsedOptions const& options, int ranks);
[[nodiscard]] sim::Fidelity fidelity_of(ParsedOptions const& options);
[[nodiscard]] std::unique_ptr<sim::NetworkModel const> model_of(ParsedOptions const& options);
[[nodiscard]] std::vector<sim::TrafficPhase> phases_of(PlanFile const& plans, ParsedOptions const& options);

/// The costs of --costs, or nothing fitted.
struct ChosenCosts {
  std::vector<sim::FittedCurve> alltoall{};  ///< empty without --costs
  std::optional<sim::GroupedGemmCost> experts{};
};
[[nodiscard]] ChosenCosts costs_of(ParsedOptions const& options);

/// Phases in order; for a dispatch with an expert kernel a phase "experts" before the first combine.
[[nodiscard]] sim::PlanCost time_plan(PlanFile const& plans, sim::ClusterSpec const& cluster,
                                      std::vector<sim::TrafficPhase> const& phases, sim::NetworkModel const& model,
                                      ChosenCosts const& costs);

}  // namespace switchyard::cli
