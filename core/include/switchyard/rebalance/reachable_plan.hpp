// SPDX-License-Identifier: Apache-2.0
/// ReachablePlan: vLLM's transfer plan among the living ranks, and what must be reloaded beside it.
#pragma once

#include <vector>

#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/reload_list.hpp"

namespace switchyard {

/// A plan in which dead ranks hold nothing, send nothing and receive nothing.
struct ReachablePlan {
  RebalancePlan plan;                ///< slots of dead ranks and slots to reload are empty in it
  std::vector<RankId> dead_ranks{};  ///< ascending, without duplicates: what the executor is told
  std::vector<Reload> reloads{};     ///< ascending by layer, then slot; never written by the plan
  friend bool operator==(ReachablePlan const&, ReachablePlan const&) = default;
};

/// plan_rebalance() for a group that has lost ranks: senders and receivers are numbered among the living ranks.
/// @param dead_ranks in the group's slot space (the larger group's when scaling).
/// @return also when experts must be reloaded; refuse the plan if `reloads` is not empty and there is no checkpoint.
/// @throws as plan_rebalance(), except for a missing source; as keep_reachable().
/// @note pure. Source: vLLM's executor leaves dead ranks among the senders (hazard H10).
[[nodiscard]] ReachablePlan plan_reachable(ExpertPlacement const& before, ExpertPlacement const& after,
                                           RankMapping const& mapping, std::vector<RankId> const& dead_ranks);

}  // namespace switchyard
