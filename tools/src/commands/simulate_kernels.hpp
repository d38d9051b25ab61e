// SPDX-License-Identifier: Apache-2.0
/// The kernels of a rank around its exchanges that `simulate` is asked to time: --plan-kernel and its like.
#pragma once

#include <span>

#include "commands/simulate_inputs.hpp"

namespace switchyard::cli {

/// --plan-kernel, --quantize-kernel, --permute-kernel, --combine-kernel.
[[nodiscard]] OptionTable kernel_options();
/// @throws UsageError for a name that the costs do not hold, or one without --costs.
[[nodiscard]] sim::RowKernels row_kernels_of(sim::CostFile const& costs, ParsedOptions const& options);
/// Adds their phases before and after `cost`'s. @param phases of the dispatch first; the first says what ranks send.
void add_row_kernels(sim::PlanCost& cost, TimedPlans const& plans, std::span<sim::TrafficPhase const> phases,
                     ChosenCosts const& costs);

}  // namespace switchyard::cli
