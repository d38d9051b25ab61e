// SPDX-License-Identifier: Apache-2.0
/// Reloads: the slots that no living rank can fill, so that their experts must come from the checkpoint.
#pragma once

#include <vector>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// One slot to be loaded with one expert's row from outside the group.
struct Reload {
  int layer = 0;
  RankId rank{};
  LocalExpertId row{};
  ExpertId expert{};
  friend bool operator==(Reload const&, Reload const&) = default;
};

/// A move without what is out of reach. Any planner accepts the pair.
struct ReachableMove {
  ExpertPlacement before;       ///< slots of dead ranks are empty: nobody can read them
  ExpertPlacement after;        ///< slots of dead ranks and slots to reload are empty: nobody writes them
  std::vector<Reload> reloads;  ///< every slot of a living rank whose expert no living rank holds; layer, slot
                                ///< ascending
};

/// Splits a move into what the living ranks can do and what must be reloaded. An expert whose only copies died, and one
/// that nobody ever held, are both reloaded in every slot that `after` gives them.
/// @param before, after in one slot space (expand_placements() first when scaling). @param dead_ranks may be empty;
///        duplicates are fine.
/// @throws Error{shape_mismatch} if the placements differ in size; Error{invalid_argument} for a rank outside the
///         group; Error{invalid_placement} for an expert id outside [-1, num_experts).
/// @note pure; O(layers * (slots + experts)). Fixes hazards H1 and H10 (docs/rebalance.md).
[[nodiscard]] ReachableMove keep_reachable(ExpertPlacement const& before, ExpertPlacement const& after,
                                           std::vector<RankId> const& dead_ranks = {});

}  // namespace switchyard
