// SPDX-License-Identifier: Apache-2.0
/// What the commands that time plans share: their options, the cluster, the traffic, the model and the costs.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "commands/timed_plans.hpp"
#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/plan_cost.hpp"
#include "switchyard/sim/row_kernels.hpp"

namespace switchyard::cli {

/// --cluster, --nodes, --fidelity, --row-bytes, --expert-bytes, --merge, --chunk-bytes, --costs, --system,
/// --expert-kernel; for a routing --ranks, --experts, --layer, --placement, --dedup.
[[nodiscard]] OptionTable timing_options();

[[nodiscard]] std::int64_t expert_bytes_of(ParsedOptions const& options);
/// @return [ranks][local experts] rows that experts compute; empty for a rebalance and for a recording of many calls.
[[nodiscard]] std::vector<std::vector<std::int64_t>> expert_rows_of(TimedPlans const& plans);
/// A preset by name, as many nodes as `ranks` fill unless told; or a file.
[[nodiscard]] sim::ClusterSpec cluster_of(ParsedOptions const& options, int ranks);
[[nodiscard]] sim::Fidelity fidelity_of(ParsedOptions const& options);
[[nodiscard]] int workers_of(ParsedOptions const& options);
[[nodiscard]] std::unique_ptr<sim::NetworkModel const> model_of(ParsedOptions const& options);
/// @param cluster that a routing is timed on: hops by node depend on it.
[[nodiscard]] std::vector<sim::TrafficPhase> phases_of(TimedPlans const& plans, ParsedOptions const& options,
                                                       sim::ClusterSpec const& cluster);

/// @return the phases of call `call` among those that phases_of() gave for a recording.
[[nodiscard]] std::span<sim::TrafficPhase const> phases_of_call(TimedPlans const& plans,
                                                                std::span<sim::TrafficPhase const> phases,
                                                                std::size_t call);

/// The costs of --costs, or nothing fitted.
struct ChosenCosts {
  std::vector<sim::FittedCurve> alltoall{};  ///< empty without --costs
  std::optional<sim::GroupedGemmCost> experts{};
  sim::RowKernels kernels{};
  std::int64_t row_bytes = 1;
};
[[nodiscard]] ChosenCosts costs_of(ParsedOptions const& options);

/// Phases in order; for a dispatch with an expert kernel a phase "experts" before the first combine, with other kernels
/// theirs before and after. Of a recording so for every call.
[[nodiscard]] sim::PlanCost time_plan(TimedPlans const& plans, sim::ClusterSpec const& cluster,
                                      std::vector<sim::TrafficPhase> const& phases, sim::NetworkModel const& model,
                                      ChosenCosts const& costs);

}  // namespace switchyard::cli
