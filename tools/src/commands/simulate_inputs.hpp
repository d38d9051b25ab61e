// SPDX-License-Identifier: Apache-2.0
/// What the commands that time plans share: their options, the plan or routing, the cluster, the model and the costs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "commands/plan_file.hpp"
#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/plan_cost.hpp"
#include "switchyard/sim/row_kernels.hpp"

namespace switchyard::cli {

/// --cluster, --nodes, --fidelity, --row-bytes, --expert-bytes, --merge, --chunk-bytes, --costs, --system,
/// --expert-kernel; for a routing --ranks, --experts, --layer, --placement, --dedup.
[[nodiscard]] OptionTable timing_options();

/// The routing of all ranks and where experts lie, without a plan.
struct RoutedTokens {
  std::vector<RoutingMap> routings{};
  ExpertPlacement placement;
  int layer = 0;
  std::string digest{};
};

/// What is timed: a plan file's content, or a routing recording's.
struct TimedPlans : PlanFile {
  std::optional<RoutedTokens> routed{};
};

/// @throws UsageError for one rank's plan of many, a plan that breaks a rule, or a routing without --ranks.
[[nodiscard]] TimedPlans read_plans(std::string const& file, ParsedOptions const& options);
/// @throws UsageError for anything but a rebalance plan that keeps all rules.
[[nodiscard]] TimedPlans read_rebalance(std::string const& file);
[[nodiscard]] std::int64_t expert_bytes_of(ParsedOptions const& options);
/// @return "dispatch", "rebalance" or "routing".
[[nodiscard]] std::string kind_text(TimedPlans const& plans);
[[nodiscard]] int ranks_of(TimedPlans const& plans);
[[nodiscard]] std::string digest_text(TimedPlans const& plans);
/// @return [ranks][local experts] rows that experts compute; empty for a rebalance.
[[nodiscard]] std::vector<std::vector<std::int64_t>> expert_rows_of(TimedPlans const& plans);
/// A preset by name, as many nodes as `ranks` fill unless told; or a file.
[[nodiscard]] sim::ClusterSpec cluster_of(ParsedOptions const& options, int ranks);
[[nodiscard]] sim::Fidelity fidelity_of(ParsedOptions const& options);
[[nodiscard]] int workers_of(ParsedOptions const& options);
[[nodiscard]] std::unique_ptr<sim::NetworkModel const> model_of(ParsedOptions const& options);
/// @param cluster that a routing is timed on: hops by node depend on it.
[[nodiscard]] std::vector<sim::TrafficPhase> phases_of(TimedPlans const& plans, ParsedOptions const& options,
                                                       sim::ClusterSpec const& cluster);

/// The costs of --costs, or nothing fitted.
struct ChosenCosts {
  std::vector<sim::FittedCurve> alltoall{};  ///< empty without --costs
  std::optional<sim::GroupedGemmCost> experts{};
  sim::RowKernels kernels{};
  std::int64_t row_bytes = 1;
};
[[nodiscard]] ChosenCosts costs_of(ParsedOptions const& options);

/// Phases in order; for a dispatch with an expert kernel a phase "experts" before the first combine, with other kernels
/// theirs before and after.
[[nodiscard]] sim::PlanCost time_plan(TimedPlans const& plans, sim::ClusterSpec const& cluster,
                                      std::vector<sim::TrafficPhase> const& phases, sim::NetworkModel const& model,
                                      ChosenCosts const& costs);

}  // namespace switchyard::cli
