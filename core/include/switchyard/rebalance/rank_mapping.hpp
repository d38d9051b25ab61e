// SPDX-License-Identifier: Apache-2.0
/// Rank mapping for elastic expert parallelism: from old ranks to new ranks, with an explicit direction.
#pragma once

#include <string_view>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// vLLM guesses the direction from list lengths and treats a permutation as a scale-down; here the caller says it.
enum class ScaleMode {
  none,        ///< same ranks before and after, no mapping
  scale_up,    ///< the group already holds the joining ranks: the old placement is expanded with empty slots
  scale_down,  ///< the group still holds the leaving ranks: the new placement is expanded with empty slots
};
[[nodiscard]] std::string_view to_string(ScaleMode mode) noexcept;

/// `new_rank_of[old rank]` = new rank, or -1 for a rank that leaves. Injective; a rank keeps its number of slots, ranks
/// that join or leave may have any. Empty in mode `none`.
struct RankMapping {
  ScaleMode mode = ScaleMode::none;
  std::vector<RankId> new_rank_of{};
  friend bool operator==(RankMapping const&, RankMapping const&) = default;
};

/// Both placements in the slot space of the group that executes the move.
struct ExpandedPlacements {
  ExpertPlacement before;
  ExpertPlacement after;
};

/// Expands the smaller placement with empty slots, as vLLM's rank mapping does: scale_up puts block o of `before` at
/// block new_rank_of[o] of the new group, scale_down puts block new_rank_of[o] of `after` at block o of the old group.
/// A permutation of all ranks is legal in either mode and means different slot spaces, which is why the mode is
/// explicit.
/// @throws Error{shape_mismatch} if layers or experts differ, or a rank that continues would change its slots;
/// Error{invalid_argument} if
///         the mapping is not injective, names a rank outside the new group, or (scale_down) skips one (each named).
/// Source: vLLM vllm/distributed/eplb/rebalance_execute.py (_map_old / _map_new); see hazard H7. There every rank has
/// equally many slots.
[[nodiscard]] ExpandedPlacements expand_placements(ExpertPlacement const& before, ExpertPlacement const& after,
                                                   RankMapping const& mapping);

}  // namespace switchyard
