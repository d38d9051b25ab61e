// SPDX-License-Identifier: Apache-2.0
/// What goes on a timeline: the options of `trace`, and the graph that plans make with them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "switchyard/sim/moe_timeline.hpp"
#include "switchyard/sim/timeline_summary.hpp"
#include "timeline/variations.hpp"

namespace switchyard::cli {

/// --layers, --batches, --steps, --attention-us, --shared-expert-us, --shared-schedule, --row-ns, --sm-share, --move,
/// --keep-traffic, --copy-gbs, --no-overlap.
[[nodiscard]] OptionTable timeline_options();

/// @throws UsageError for a number outside its range.
[[nodiscard]] WorkTimes work_times_of(ParsedOptions const& options);

/// A timeline with all that describes it.
struct TimelineRun {
  sim::MoeTimelineSpec spec;
  sim::TaskGraph graph;
  sim::ClusterTopology topology;
  sim::Timeline timeline;
  sim::TimelineSummary summary;
};

/// What a rebalance behind the dispatch did to the steps: those until its last commit, compared with as many steps on
/// the old map and on the new one, without moves.
struct MoveEffect {
  int steps = 0;
  bool all_committed = false;
  double before_us = 0;  ///< all of them on the old map
  double moving_us = 0;  ///< as they were, with moves behind them
  double after_us = 0;   ///< all of them on the new map
};

/// What the plans ask for: plans of dispatches or routings in turn over (layer, batch), or the calls of one recording,
/// with a rebalance behind them (--move) or not; or one rebalance alone.
class TimelineJob {
 public:
  /// @throws UsageError for plans of different world sizes or kinds, or options that have no meaning for them.
  /// @param names of the plans' files, for messages.
  TimelineJob(std::vector<TimedPlans> const& plans, std::vector<std::string> const& names, ParsedOptions const& options,
              sim::ClusterSpec const& cluster);

  /// Without --steps a job with --move takes as many as all moves need, and one more on the new map.
  [[nodiscard]] TimelineRun run(TimingBasis const& basis, sim::NetworkModel const& model) const;
  /// The same work one after the other, as many steps as `run` took.
  [[nodiscard]] double serial_us(TimingBasis const& basis, sim::NetworkModel const& model,
                                 TimelineRun const& run) const;
  /// @return nothing when no layer changes its traffic or nothing was committed. Runs the steps twice more.
  [[nodiscard]] std::optional<MoveEffect> effect(TimingBasis const& basis, sim::NetworkModel const& model,
                                                 TimelineRun const& run) const;
  [[nodiscard]] int ranks() const noexcept { return spec_.ranks; }

 private:
  [[nodiscard]] sim::MoeTimelineSpec spec_with(TimingBasis const& basis) const;

  sim::MoeTimelineSpec spec_{};                               // without times
  std::vector<std::vector<std::vector<std::int64_t>>> rows_;  // [works][ranks][local experts]
  sim::TrafficPhase largest_{};                               // what measured costs are taken for
  bool steps_given_ = false;
};

/// One timeline of the phases as `simulate` counts them: every phase begins when the one before has ended everywhere.
[[nodiscard]] TimelineRun phase_timeline(TimedPlans const& plans, std::vector<sim::TrafficPhase> const& phases,
                                         TimingBasis const& basis, sim::NetworkModel const& model);

/// @throws UsageError when the cluster has fewer ranks than the plan's world.
void require_fit(TimedPlans const& plans, std::string const& file, sim::ClusterSpec const& cluster);

}  // namespace switchyard::cli
