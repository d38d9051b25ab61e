// SPDX-License-Identifier: Apache-2.0
/// ScheduleReplay: executes one layer of a schedule on symbolic rows and notes every rule that breaks on the way.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "tiers.hpp"

namespace switchyard::rebalance {

/// Knows nothing about how schedules are made. The schedule's placements, limits and dead ranks must be in order; ids
/// of the layer's steps may be anything.
class ScheduleReplay {
 public:
  ScheduleReplay(RebalanceSchedule const& schedule, int layer);

  [[nodiscard]] std::vector<PlanViolation>& violations() noexcept { return violations_; }

 private:
  /// What a round does to a row.
  enum class Use : char { none, read, written };
  struct Row {
    ExpertId content;
    Use use = Use::none;
  };
  /// How far the copies of one expert fall below their number at the start of a phase of copies.
  struct Phase {
    int change = 0;   ///< on the rank at hand, so far
    int lowest = 0;   ///< on the rank at hand
    int deficit = 0;  ///< sum of the ranks' lowest
    int gain = 0;     ///< sum of the ranks' changes
  };

  void run_round(TransferRound const& round);
  bool check_transfer(RowTransfer const& transfer);
  void count_ports(std::vector<RowTransfer> const& transfers);
  void land(std::vector<RowTransfer> const& transfers);
  void run_copies(std::vector<RowCopy> const& copies, std::string_view when);
  bool check_copy(RowCopy const& copy);
  void end_rank_of_phase();
  void end_phase(std::string_view when);
  void note_change(ExpertId expert, int change);
  void compare_with_after();
  void check_spare_rows(int claimed);

  bool check_row(RankId rank, LocalExpertId row, std::string_view what);
  bool check_rank(RankId rank, std::string_view what);
  void check_content(RankId rank, LocalExpertId row, ExpertId expert, std::string_view what);
  void check_target(RankId rank, LocalExpertId row, ExpertId expert, std::string_view what);
  Row& row_of(RankId rank, LocalExpertId row) { return rows_[rank.index()][row.index()]; }
  void report(PlanRule rule, RankId rank, std::string text);

  RebalanceSchedule const& schedule_;
  Tiers tiers_;
  int layer_;
  int round_ = 0;
  int spare_rows_used_ = 0;
  std::vector<std::vector<Row>> rows_{};  // [ranks][slots, then spare rows]
  std::vector<bool> dead_;                // [ranks]
  std::vector<bool> needed_;              // [experts] some slot of `after` holds it
  std::vector<int> copies_;               // [experts] complete ones
  std::vector<Phase> phase_;              // [experts]
  std::vector<ExpertId> touched_of_rank_{};
  std::vector<ExpertId> touched_of_phase_{};
  std::vector<PlanViolation> violations_{};
};

}  // namespace switchyard::rebalance
