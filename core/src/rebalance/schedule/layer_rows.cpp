// SPDX-License-Identifier: Apache-2.0
#include "layer_rows.hpp"

#include <algorithm>

namespace switchyard::rebalance {

LayerRows::LayerRows(RebalanceSchedule const& schedule, int layer)
    : ranks_(to_size(schedule.before.num_ranks())),
      guardian_(to_size(schedule.before.num_experts()), RankId(-1)),
      lacked_(guardian_.size(), false) {
  for (RankId id(0); id.index() < ranks_.size(); ++id) {
    Rank& rank = ranks_[id.index()];
    auto const before = schedule.before.rank_slots(layer, id);
    auto const after = schedule.after.rank_slots(layer, id);
    rank.after.assign(after.begin(), after.end());
    rank.content.assign(before.size() + to_size(schedule.spare_rows_of(id)), kNoExpert);
    std::vector<ExpertId> experts(before.begin(), before.end());
    experts.insert(experts.end(), after.begin(), after.end());
    std::sort(experts.begin(), experts.end());
    experts.erase(std::unique(experts.begin(), experts.end()), experts.end());
    for (ExpertId const expert : experts)
      rank.shares.push_back({expert, static_cast<int>(std::count(after.begin(), after.end(), expert)), 0, 0});
    for (LocalExpertId row(0); row.index() < before.size(); ++row) write(id, row, before[row.index()]);
  }
}

LayerRows::Share* LayerRows::find(Rank& rank, ExpertId expert) {
  return const_cast<Share*>(find(static_cast<Rank const&>(rank), expert));
}

LayerRows::Share const* LayerRows::find(Rank const& rank, ExpertId expert) {
  auto const place = std::lower_bound(rank.shares.begin(), rank.shares.end(), expert,
                                      [](Share const& share, ExpertId id) { return share.expert < id; });
  return place != rank.shares.end() && place->expert == expert ? &*place : nullptr;
}

bool LayerRows::holds(RankId rank, ExpertId expert) const {
  auto const* share = find(ranks_[rank.index()], expert);
  return share != nullptr && share->copies > 0;
}

LocalExpertId LayerRows::first_row_with(RankId rank, ExpertId expert) const {
  auto const& content = ranks_[rank.index()].content;
  return LocalExpertId(static_cast<std::int32_t>(std::find(content.begin(), content.end(), expert) - content.begin()));
}

LocalExpertId LayerRows::source_row(RankId rank, ExpertId expert) const {
  auto const& content = ranks_[rank.index()].content;
  LocalExpertId const first = first_row_with(rank, expert);
  for (LocalExpertId row = first; row.index() < content.size(); ++row)
    if (content[row.index()] == expert && !is_dead(rank, row)) return row;
  return first;
}

bool LayerRows::is_final_for(RankId rank, LocalExpertId row, ExpertId expert) const {
  auto const& after = ranks_[rank.index()].after;
  return row.index() < after.size() && after[row.index()] == expert;
}

bool LayerRows::is_dead(RankId rank, LocalExpertId row) const {
  Rank const& state = ranks_[rank.index()];
  if (is_final_for(rank, row, kNoExpert)) return false;
  ExpertId const expert = state.content[row.index()];
  if (expert == kNoExpert) return true;
  if (is_final_for(rank, row, expert)) return false;
  Share const& share = *find(state, expert);
  if (share.wanted == 0 && guardian_[expert.index()] != rank) return true;
  return share.final_copies > 0 || (share.copies > 1 && first_row_with(rank, expert) != row);
}

int LayerRows::count_dead(RankId rank) const {
  int dead = 0;
  for (LocalExpertId row(0); row.value() < num_rows(rank); ++row) dead += is_dead(rank, row) ? 1 : 0;
  return dead;
}

void LayerRows::write(RankId rank, LocalExpertId row, ExpertId expert) {
  Rank& state = ranks_[rank.index()];
  ExpertId& content = state.content[row.index()];
  auto const count = [&](ExpertId id, int change) {
    if (!id.valid()) return;
    Share& share = *find(state, id);
    share.copies += change;
    share.final_copies += is_final_for(rank, row, id) ? change : 0;
  };
  count(content, -1);
  count(expert, 1);
  content = expert;
}

bool LayerRows::is_misplaced(RankId rank, LocalExpertId row) const {
  Rank const& state = ranks_[rank.index()];
  ExpertId const wanted = state.after[row.index()];
  return wanted.valid() && state.content[row.index()] != wanted && holds(rank, wanted);
}

void LayerRows::copy(RankId rank, LocalExpertId from, LocalExpertId to, std::vector<RowCopy>& out) {
  ExpertId const expert = ranks_[rank.index()].content[from.index()];
  out.push_back({expert, rank, from, to});
  write(rank, to, expert);
}

bool LayerRows::is_useful(RankId rank, LocalExpertId row) const {
  ExpertId const expert = ranks_[rank.index()].content[row.index()];
  return expert.valid() && lacked_[expert.index()];
}

bool LayerRows::has_room(RankId rank) const {
  LocalExpertId row(0);
  while (row.value() < num_rows(rank) && !(is_dead(rank, row) && !is_useful(rank, row))) ++row;
  return row.value() < num_rows(rank);
}

bool LayerRows::place_once(RankId rank, bool sparing, std::vector<RowCopy>& out) {
  bool moved = false;
  for (LocalExpertId row(0); row.value() < num_slots(rank); ++row) {
    if (!is_misplaced(rank, row) || !is_dead(rank, row) || (sparing && is_useful(rank, row))) continue;
    copy(rank, first_row_with(rank, ranks_[rank.index()].after[row.index()]), row, out);
    moved = true;
  }
  return moved;
}

bool LayerRows::break_one_cycle(RankId rank, std::vector<RowCopy>& out) {
  LocalExpertId blocked(0);
  while (blocked.value() < num_slots(rank) && !is_misplaced(rank, blocked)) ++blocked;
  if (blocked.value() == num_slots(rank)) return false;
  LocalExpertId refuge(num_slots(rank));
  while (refuge.value() < num_rows(rank) && !is_dead(rank, refuge)) ++refuge;
  if (refuge.value() == num_rows(rank)) {
    refuge = LocalExpertId(0);
    while (!is_dead(rank, refuge)) ++refuge;
  }
  copy(rank, blocked, refuge, out);
  copy(rank, first_row_with(rank, ranks_[rank.index()].after[blocked.index()]), blocked, out);
  return true;
}

void LayerRows::place(RankId rank, bool finish, std::vector<RowCopy>& out) {
  do {
    bool sparing = !finish;
    while (place_once(rank, sparing, out) || (sparing && !has_room(rank))) sparing = sparing && has_room(rank);
  } while (finish && break_one_cycle(rank, out));
}

}  // namespace switchyard::rebalance
