// SPDX-License-Identifier: Apache-2.0
/// StepWorks: which work every batch of every layer does, on the map that a rebalance starts from and on the one that
/// it makes.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <utility>
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

struct StepWork {
  std::vector<sim::BatchWork> works{};  ///< without the experts' times
  std::vector<sim::WorkChoice> choices{};
  std::vector<std::vector<std::vector<std::int64_t>>> rows{};  ///< [works][ranks][local experts]
};

class StepWorks {
 public:
  /// @param plans dispatches or routings in turn over (layer, batch), or one recording.
  /// @param move whose maps the layers follow; null = the plans stay as they are.
  /// @throws UsageError as Rerouting.
  StepWorks(std::vector<TimedPlans> const& plans, std::vector<std::string> const& names, StepShape const& shape,
            RebalancePlan const* move, ParsedOptions const& options, sim::ClusterSpec const& cluster);

  /// All of it; the object is empty afterwards.
  [[nodiscard]] StepWork take() && { return std::move(all_); }

 private:
  int add(TimedPlans const& plans);
  int work_under(std::size_t plan, ExpertPlacement const& placement, int layer);

  ParsedOptions const& options_;
  sim::ClusterSpec const& cluster_;
  StepWork all_;
  std::vector<Rerouting> reroutings_;                                               // [plans], with a move
  std::vector<int> as_given_;                                                       // [plans] work
  std::map<std::tuple<std::size_t, int, std::vector<ExpertId>>, int> work_of_map_;  // (plan, layer, slots)
};

/// A dispatch's phases come first, its combine's are their mirror image.
[[nodiscard]] sim::BatchWork work_of(std::vector<sim::TrafficPhase> phases);
[[nodiscard]] std::int64_t bytes_of(sim::TrafficPhase const& phase);

/// The last of the phases with the most bytes among those seen, which must outlive it.
class LargestPhase {
 public:
  void see(sim::TrafficPhase const& phase);
  /// @return an empty phase when none was seen.
  [[nodiscard]] sim::TrafficPhase phase() const { return phase_ != nullptr ? *phase_ : sim::TrafficPhase{}; }

 private:
  sim::TrafficPhase const* phase_ = nullptr;
  std::int64_t bytes_ = 0;
};

}  // namespace switchyard::cli
