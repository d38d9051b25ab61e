// SPDX-License-Identifier: Apache-2.0
/// LayerMoves: what one rank does for one layer, the same form for plans and schedules. Integers only, no CUDA.
#pragma once

#include <span>
#include <vector>

#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"

namespace switchyard::cuda {

/// Rows count slots first, then spare rows; ranks count in the group that executes.
struct RowSend {
  ExpertId expert;
  LocalExpertId row;
  RankId to;
};
struct RowReceive {
  ExpertId expert;
  LocalExpertId row;
  RankId from;
};
struct OwnCopy {
  ExpertId expert;
  LocalExpertId from;
  LocalExpertId to;
};

struct RoundMoves {
  std::vector<RowSend> sends;
  std::vector<RowReceive> receives;
  std::vector<OwnCopy> copies;  ///< after all rows of the round have arrived everywhere
};

struct LayerMoves {
  int layer = 0;
  int num_slots = 0;
  int num_spare_rows = 0;
  bool buffered = true;          ///< no slot is written before the commit
  std::vector<OwnCopy> opening;  ///< before the first round, into spare rows
  std::vector<RoundMoves> rounds;
  std::vector<OwnCopy> commit;
};

/// Stages everything: local copies in the first spare rows, then what arrives; one round, or none when no rank of the
/// group has anything to do. The plan is valid.
[[nodiscard]] LayerMoves layer_moves(RebalancePlan const& plan, int layer, RankId me);

/// @param living the ranks of the schedule that form the group, ascending. The schedule is valid.
[[nodiscard]] LayerMoves layer_moves(RebalanceSchedule const& schedule, int layer, RankId me,
                                     std::span<RankId const> living);

/// @return all ranks, or those that are not dead.
[[nodiscard]] std::vector<RankId> group_ranks(RebalanceSchedule const& schedule, bool with_dead);

}  // namespace switchyard::cuda
