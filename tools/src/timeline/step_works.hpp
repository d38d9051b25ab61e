// SPDX-License-Identifier: Apache-2.0
/// StepWorks: which work every batch of every layer does, on the map that a rebalance starts from and on the one that
/// it makes.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "commands/simulate_inputs.hpp"
#include "switchyard/sim/moe_timeline.hpp"
#include "timeline/rerouting.hpp"

namespace switchyard::cli {

/// Layers, batches and steps of a timeline.
struct StepShape {
  int layers = 1, batches = 1;
  int recorded_steps = 1;  ///< steps that differ; the timeline goes through them in turn
};

class StepWorks {
 public:
  /// @param plans dispatches or routings in turn over (layer, batch), or one recording.
  /// @param move whose maps the layers follow; null = the plans stay as they are.
  /// @throws UsageError as Rerouting.
  StepWorks(std::vector<TimedPlans> const& plans, std::vector<std::string> const& names, StepShape const& shape,
            RebalancePlan const* move, ParsedOptions const& options, sim::ClusterSpec const& cluster);

  /// Without the experts' times.
  [[nodiscard]] std::vector<sim::BatchWork> const& works() const noexcept { return works_; }
  [[nodiscard]] std::vector<sim::WorkChoice> const& choices() const noexcept { return choices_; }
  /// [works][ranks][local experts]
  [[nodiscard]] std::vector<std::vector<std::vector<std::int64_t>>> const& rows() const noexcept { return rows_; }
  /// The dispatch phase with the most bytes.
  [[nodiscard]] sim::TrafficPhase const& largest() const noexcept { return largest_; }

 private:
  int add(TimedPlans const& plans);
  int work_under(std::size_t plan, ExpertPlacement const& placement, int layer);

  ParsedOptions const& options_;
  sim::ClusterSpec const& cluster_;
  std::vector<sim::BatchWork> works_;
  std::vector<sim::WorkChoice> choices_;
  std::vector<std::vector<std::vector<std::int64_t>>> rows_;
  sim::TrafficPhase largest_{};
  std::vector<Rerouting> reroutings_;                                               // [plans], with a move
  std::vector<int> as_given_;                                                       // [plans] work
  std::map<std::tuple<std::size_t, int, std::vector<ExpertId>>, int> work_of_map_;  // (plan, layer, slots)
};

/// A dispatch's phases come first, its combine's are their mirror image.
[[nodiscard]] sim::BatchWork work_of(std::vector<sim::TrafficPhase> phases);
[[nodiscard]] std::int64_t bytes_of(sim::TrafficPhase const& phase);

}  // namespace switchyard::cli
