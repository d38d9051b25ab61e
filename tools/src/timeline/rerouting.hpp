// SPDX-License-Identifier: Apache-2.0
/// Rerouting: the dispatch of the same choices of experts when the experts lie elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "commands/timed_plans.hpp"

namespace switchyard::cli {

/// Where the experts of one layer are.
struct LayerSlots {
  std::vector<std::int32_t> per_rank{};  ///< [ranks] slots
  std::vector<std::int32_t> experts{};   ///< [slots] -1 = empty
  friend bool operator==(LayerSlots const&, LayerSlots const&) = default;
};

/// Which experts the tokens of one dispatch chose, taken from whatever it is known by: a routing, the calls of a
/// recording, or plans, whose slots must be those of a map that is known.
class Rerouting {
 public:
  /// @param move its maps, and contiguous blocks, are where the slots of plans are looked up. @param file for messages.
  /// @throws UsageError for another number of experts than the move's, plans whose slots are of no known map, bins of a
  /// capacity (their size is not in a plan), or a routing that --placement puts elsewhere.
  Rerouting(TimedPlans const& plans, RebalancePlan const& move, std::string const& file, ParsedOptions const& options);

  /// @return whether the dispatch was made for these slots, so that nothing would change.
  [[nodiscard]] bool is_of(ExpertPlacement const& placement, int layer) const;
  /// @return the dispatch with the experts of `layer` where `placement` has them, by the family's own planner; the
  /// choice of replicas goes by token, rank and layer. @throws Error as that planner.
  [[nodiscard]] TimedPlans under(ExpertPlacement const& placement, int layer) const;

 private:
  std::vector<DispatchRecording> calls_;  // [ranks]; empty for a routing
  LayerSlots origin_;                     // of calls_
  RoutedTokens const* routed_ = nullptr;
};

}  // namespace switchyard::cli
