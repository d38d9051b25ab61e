// SPDX-License-Identifier: Apache-2.0
#include "commands/simulate_kernels.hpp"

#include <fmt/format.h>

namespace switchyard::cli {
namespace {

std::optional<sim::FittedCurve> curve_named(sim::CostFile const& costs, ParsedOptions const& options,
                                            std::string const& option) {
  if (!options.has(option)) return std::nullopt;
  std::string const name = options.text(option);
  for (auto const& curve : costs.curves)
    if (to_string(curve.key) == name) return curve;
  throw UsageError(
      fmt::format("--{} \"{}\" is no curve of the costs: `switchyard calibrate` prints their names", option, name));
}

std::vector<sim::RankRows> rank_rows(TimedPlans const& plans, sim::TrafficPhase const& first, std::int64_t row_bytes) {
  std::vector<sim::RankRows> ranks(static_cast<std::size_t>(ranks_of(plans)));
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    ranks[rank].tokens = plans.routed ? plans.routed->routings[rank].num_tokens() : plans.dispatch[rank].num_tokens;
  for (sim::Flow const& flow : first.flows) ranks[flow.from.index()].sent_rows += flow.bytes / row_bytes;
  return ranks;
}

}  // namespace

OptionTable kernel_options() {
  return {{"plan-kernel", OptionKind::optional, "NAME", "", "a curve of the costs over tokens: times planning, too"},
          {"quantize-kernel", OptionKind::optional, "NAME", "",
           "a curve over bytes moved: times making one-byte codes of two-byte values before they are sent"},
          {"permute-kernel", OptionKind::optional, "NAME", "",
           "a curve over bytes moved: times gathering the rows to send"},
          {"combine-kernel", OptionKind::optional, "NAME", "",
           "a curve over bytes moved: times summing the rows that came back"}};
}

sim::RowKernels row_kernels_of(sim::CostFile const& costs, ParsedOptions const& options) {
  return {curve_named(costs, options, "plan-kernel"), curve_named(costs, options, "quantize-kernel"),
          curve_named(costs, options, "permute-kernel"), curve_named(costs, options, "combine-kernel")};
}

void add_row_kernels(sim::PlanCost& cost, TimedPlans const& plans, std::span<sim::TrafficPhase const> phases,
                     ChosenCosts const& costs) {
  if (plans.rebalance || phases.empty()) return;
  auto const rows = rank_rows(plans, phases.front(), costs.row_bytes);
  auto const added = sim::kernel_phases(costs.kernels, rows, costs.row_bytes);
  for (auto const* part : {&added.before, &added.after})
    for (sim::PhaseCost const& phase : *part) {
      cost.time_us += phase.time_us;
      cost.lower_bound_us += phase.lower_bound_us;
    }
  cost.phases.insert(cost.phases.begin(), added.before.begin(), added.before.end());
  cost.phases.insert(cost.phases.end(), added.after.begin(), added.after.end());
}

}  // namespace switchyard::cli
