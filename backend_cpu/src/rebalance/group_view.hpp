// SPDX-License-Identifier: Apache-2.0
/// GroupView: which ranks of a plan form the communicator's group, and which of them this one is.
#pragma once

#include <vector>

#include "switchyard/types/ids.hpp"

namespace switchyard::cpu {

struct GroupView {
  RankId me{};                    ///< in the plan
  std::vector<RankId> members{};  ///< ascending: member i is rank i of the communicator

  [[nodiscard]] RankId rank_in_group(RankId rank) const;
};

/// All ranks of the plan when the group has as many, dead ones idle; otherwise the living ones.
/// @param dead_ranks ascending. @param me this rank in the group.
/// @throws Error{shape_mismatch} when the group has neither number of ranks. @param plan "plan" or "schedule".
[[nodiscard]] GroupView view_of_group(int num_ranks, std::vector<RankId> const& dead_ranks, int group_size, RankId me,
                                      char const* plan);

}  // namespace switchyard::cpu
