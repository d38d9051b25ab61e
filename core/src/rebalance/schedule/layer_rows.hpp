// SPDX-License-Identifier: Apache-2.0
/// LayerRows: what every row of every rank holds while a layer moves, and which rows may be overwritten.
#pragma once

#include <vector>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"

namespace switchyard::rebalance {

/// A row is dead when overwriting it loses nothing: it is empty, or its expert has no business on the rank (not wanted
/// there, and the rank is not its guardian), or another row of the rank keeps the expert. Slots that are empty in
/// `after` are never written and so never count as dead.
class LayerRows {
 public:
  LayerRows(RebalanceSchedule const& schedule, int layer);

  [[nodiscard]] int num_ranks() const noexcept { return static_cast<int>(ranks_.size()); }
  [[nodiscard]] int num_slots(RankId rank) const { return static_cast<int>(ranks_[rank.index()].after.size()); }
  [[nodiscard]] int num_rows(RankId rank) const { return static_cast<int>(ranks_[rank.index()].content.size()); }
  [[nodiscard]] bool holds(RankId rank, ExpertId expert) const;
  /// The row to send `expert` from: one that is not dead if there is one. The rank must hold the expert.
  [[nodiscard]] LocalExpertId source_row(RankId rank, ExpertId expert) const;
  [[nodiscard]] bool is_dead(RankId rank, LocalExpertId row) const;
  [[nodiscard]] int count_dead(RankId rank) const;
  /// Whether the slot's final expert is `expert`.
  [[nodiscard]] bool is_final_for(RankId rank, LocalExpertId row, ExpertId expert) const;

  void write(RankId rank, LocalExpertId row, ExpertId expert);
  /// The guardian keeps its copy of an expert until the first rank that wants it has it.
  void set_guardian(ExpertId expert, RankId rank) { guardian_[expert.index()] = rank; }
  void release(ExpertId expert) { guardian_[expert.index()] = RankId(-1); }
  /// Whether somebody lacks the expert: then its dead copies are still good as sources.
  void set_lacked(ExpertId expert, bool lacked) { lacked_[expert.index()] = lacked; }
  [[nodiscard]] bool is_useful(RankId rank, LocalExpertId row) const;
  [[nodiscard]] RankId guardian(ExpertId expert) const { return guardian_[expert.index()]; }

  /// Copies experts that are on the rank to the slots that want them, as far as dead slots allow.
  /// Dead copies that are useful are spared while the rank has another dead row.
  /// @param finish everything the rank wants is there: spares nothing and breaks cycles by way of a dead row, spare
  /// rows
  ///        first.
  void place(RankId rank, bool finish, std::vector<RowCopy>& out);

 private:
  /// What a rank has to do with one expert.
  struct Share {
    ExpertId expert;
    int wanted = 0;  ///< slots that shall hold it
    int copies = 0;  ///< rows that hold it
    int final_copies = 0;
  };
  struct Rank {
    std::vector<ExpertId> content;
    std::vector<ExpertId> after;
    std::vector<Share> shares;  // ascending by expert
  };

  static Share* find(Rank& rank, ExpertId expert);
  static Share const* find(Rank const& rank, ExpertId expert);
  [[nodiscard]] LocalExpertId first_row_with(RankId rank, ExpertId expert) const;
  void copy(RankId rank, LocalExpertId from, LocalExpertId to, std::vector<RowCopy>& out);
  bool place_once(RankId rank, bool sparing, std::vector<RowCopy>& out);
  [[nodiscard]] bool has_room(RankId rank) const;
  bool break_one_cycle(RankId rank, std::vector<RowCopy>& out);
  [[nodiscard]] bool is_misplaced(RankId rank, LocalExpertId row) const;

  std::vector<Rank> ranks_;
  std::vector<RankId> guardian_;  // [experts]
  std::vector<bool> lacked_;      // [experts]
};

}  // namespace switchyard::rebalance
