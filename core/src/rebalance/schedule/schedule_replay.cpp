// SPDX-License-Identifier: Apache-2.0
#include "schedule_replay.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::rebalance {

ScheduleReplay::ScheduleReplay(RebalanceSchedule const& schedule, int layer)
    : schedule_(schedule),
      tiers_(schedule.before.num_ranks(), schedule.limits),
      layer_(layer),
      dead_(to_size(schedule.before.num_ranks()), false),
      needed_(to_size(schedule.before.num_experts()), false),
      copies_(needed_.size(), 0),
      phase_(needed_.size()) {
  for (RankId const rank : schedule.dead_ranks) dead_[rank.index()] = true;
  for (RankId rank(0); rank.index() < dead_.size(); ++rank) {
    auto& rows = rows_.emplace_back();
    for (ExpertId const expert : schedule.before.rank_slots(layer, rank)) {
      rows.push_back({expert});
      if (expert.valid()) ++copies_[expert.index()];
    }
    rows.resize(rows.size() + to_size(schedule.spare_rows_of(rank)), {kNoExpert});
    for (ExpertId const expert : schedule.after.rank_slots(layer, rank))
      if (expert.valid()) needed_[expert.index()] = true;
  }
  LayerSchedule const& steps = schedule.layers[to_size(layer)];
  for (TransferRound const& round : steps.rounds) run_round(round);
  run_copies(steps.commit, "the commit");
  compare_with_after();
  check_spare_rows(steps.spare_rows_used);
}

void ScheduleReplay::run_round(TransferRound const& round) {
  for (auto& rows : rows_)
    for (Row& row : rows) row.use = Use::none;
  std::vector<RowTransfer> sound;
  for (RowTransfer const& transfer : round.transfers)
    if (check_transfer(transfer)) sound.push_back(transfer);
  count_ports(sound);
  land(sound);
  run_copies(round.copies, fmt::format("round {}", round_));
  ++round_;
}

bool ScheduleReplay::check_transfer(RowTransfer const& transfer) {
  auto const [expert, from, source_row, to, target_row] = transfer;
  if (!check_rank(from, "transfer") || !check_rank(to, "transfer")) return false;
  if (from == to) {
    report(PlanRule::self_transfer, from, fmt::format("round {}: a transfer to the rank itself", round_));
    return false;
  }
  if (!check_row(from, source_row, "transfer") || !check_row(to, target_row, "transfer")) return false;
  check_content(from, source_row, expert, fmt::format("round {}: the transfer to rank {}", round_, to.value()));
  row_of(from, source_row).use = Use::read;
  return true;
}

void ScheduleReplay::count_ports(std::vector<RowTransfer> const& transfers) {
  int const limit = schedule_.limits.max_transfers_per_round;
  if (limit > 0 && transfers.size() > to_size(limit))
    report(PlanRule::busy_port, RankId(-1),
           fmt::format("round {} has {} transfers, the limit is {}", round_, transfers.size(), limit));
  std::vector<std::array<int, 4>> uses(dead_.size());  // sends and receives over the network, then inside the node
  auto const use = [&](RankId rank, bool intra, bool receives) {
    int const used = ++uses[rank.index()][(intra ? 2U : 0U) + (receives ? 1U : 0U)];
    if (used != tiers_.capacity(intra) + 1) return;
    report(PlanRule::busy_port, rank,
           fmt::format("round {}: the rank {} more than {} experts {}", round_, receives ? "receives" : "sends",
                       tiers_.capacity(intra), intra ? "inside its node" : "over the network"));
  };
  for (RowTransfer const& transfer : transfers) {
    bool const intra = tiers_.same_node(transfer.from, transfer.to);
    use(transfer.from, intra, false);
    use(transfer.to, intra, true);
  }
}

/// All rows that are received into lose their content before any of them is complete.
void ScheduleReplay::land(std::vector<RowTransfer> const& transfers) {
  std::vector<ExpertId> arriving;
  for (RowTransfer const& transfer : transfers) arriving.push_back(row_of(transfer.from, transfer.source_row).content);
  for (auto const& [expert, from, source_row, to, target_row] : transfers) {
    check_target(to, target_row, expert, fmt::format("round {}: a transfer from rank {}", round_, from.value()));
    Row& row = row_of(to, target_row);
    if (row.use != Use::none)
      report(PlanRule::busy_row, to,
             fmt::format("round {}: row {} receives expert {} and is {} in the same round", round_, target_row.value(),
                         expert.value(), row.use == Use::read ? "sent" : "written again"));
    row.use = Use::written;
    if (row.content.valid()) --copies_[row.content.index()];
  }
  for (auto const& [expert, from, source_row, to, target_row] : transfers) {
    ExpertId const lost = row_of(to, target_row).content;
    if (lost.valid() && needed_[lost.index()] && copies_[lost.index()] == 0)
      report(PlanRule::last_copy, to,
             fmt::format("round {}: row {} holds the last complete copy of expert {} and is received into", round_,
                         target_row.value(), lost.value()));
  }
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    row_of(transfers[i].to, transfers[i].target_row).content = arriving[i];
    if (arriving[i].valid()) ++copies_[arriving[i].index()];
  }
}

void ScheduleReplay::run_copies(std::vector<RowCopy> const& copies, std::string_view when) {
  RankId last(-1);
  for (RowCopy const& copy : copies) {
    if (copy.rank < last)
      report(PlanRule::order_mismatch, copy.rank, fmt::format("{}: the copies are not in the order of ranks", when));
    if (copy.rank != last) end_rank_of_phase();
    last = copy.rank;
    if (!check_copy(copy)) continue;
    check_content(copy.rank, copy.source_row, copy.expert, fmt::format("{}: a copy", when));
    check_target(copy.rank, copy.target_row, copy.expert, fmt::format("{}: a copy", when));
    Row& target = row_of(copy.rank, copy.target_row);
    note_change(target.content, -1);
    target.content = row_of(copy.rank, copy.source_row).content;
    note_change(target.content, 1);
  }
  end_rank_of_phase();
  end_phase(when);
}

void ScheduleReplay::end_phase(std::string_view when) {
  for (ExpertId const expert : touched_of_phase_) {
    int& copies = copies_[expert.index()];
    Phase& phase = phase_[expert.index()];
    if (needed_[expert.index()] && phase.deficit < 0 && copies + phase.deficit < 1)
      report(PlanRule::last_copy, RankId(-1),
             fmt::format("{}: no complete copy of expert {} is left when ranks are fast or slow enough", when,
                         expert.value()));
    copies += phase.gain;
    phase = {};
  }
  touched_of_phase_.clear();
}

bool ScheduleReplay::check_copy(RowCopy const& copy) {
  if (!check_rank(copy.rank, "copy") || !check_row(copy.rank, copy.source_row, "copy") ||
      !check_row(copy.rank, copy.target_row, "copy"))
    return false;
  if (copy.source_row != copy.target_row) return true;
  report(PlanRule::wrong_target, copy.rank, fmt::format("row {} is copied to itself", copy.source_row.value()));
  return false;
}

void ScheduleReplay::note_change(ExpertId expert, int change) {
  if (!expert.valid()) return;
  Phase& phase = phase_[expert.index()];
  touched_of_rank_.push_back(expert);
  phase.change += change;
  phase.lowest = std::min(phase.lowest, phase.change);
}

/// Other ranks may be anywhere in their copies, so only the number at the start of the phase and the lowest points
/// count; what a rank gains is known to be there when all are done.
void ScheduleReplay::end_rank_of_phase() {
  for (ExpertId const expert : touched_of_rank_) {
    Phase& phase = phase_[expert.index()];
    phase.deficit += phase.lowest;
    phase.gain += phase.change;
    phase.change = 0;
    phase.lowest = 0;
    touched_of_phase_.push_back(expert);
  }
  touched_of_rank_.clear();
}

void ScheduleReplay::compare_with_after() {
  for (RankId rank(0); rank.index() < rows_.size(); ++rank) {
    auto const before = schedule_.before.rank_slots(layer_, rank);
    auto const after = schedule_.after.rank_slots(layer_, rank);
    for (LocalExpertId row(0); row.index() < after.size(); ++row) {
      ExpertId const wanted = after[row.index()];
      ExpertId const found = row_of(rank, row).content;
      if (!wanted.valid() || wanted == found) continue;
      bool const untouched = found == before[row.index()];
      report(untouched ? PlanRule::unwritten_row : PlanRule::wrong_target, rank,
             fmt::format("row {} must hold expert {} and ends with {}", row.value(), wanted.value(), found.value()));
    }
  }
}

void ScheduleReplay::check_spare_rows(int claimed) {
  if (claimed == spare_rows_used_) return;
  report(PlanRule::wrong_claim, RankId(-1),
         fmt::format("the layer states {} spare rows and uses {}", claimed, spare_rows_used_));
}

bool ScheduleReplay::check_rank(RankId rank, std::string_view what) {
  if (!rank.valid() || rank.index() >= rows_.size()) {
    report(PlanRule::id_out_of_range, rank,
           fmt::format("a {} names rank {}, but the group has ranks [0, {})", what, rank.value(), rows_.size()));
    return false;
  }
  if (!dead_[rank.index()]) return true;
  report(PlanRule::dead_rank, rank, fmt::format("a {} names the rank, which is dead", what));
  return false;
}

bool ScheduleReplay::check_row(RankId rank, LocalExpertId row, std::string_view what) {
  auto const rows = rows_[rank.index()].size();
  if (row.valid() && row.index() < rows) return true;
  report(PlanRule::id_out_of_range, rank,
         fmt::format("a {} names row {}, but the rank has rows [0, {}), {} of them spare", what, row.value(), rows,
                     schedule_.spare_rows_of(rank)));
  return false;
}

void ScheduleReplay::check_content(RankId rank, LocalExpertId row, ExpertId expert, std::string_view what) {
  ExpertId const found = row_of(rank, row).content;
  if (found == expert && expert.valid()) return;
  report(PlanRule::wrong_source, rank,
         fmt::format("{} of expert {} reads row {}, which holds {}", what, expert.value(), row.value(), found.value()));
}

void ScheduleReplay::check_target(RankId rank, LocalExpertId row, ExpertId expert, std::string_view what) {
  auto const after = schedule_.after.rank_slots(layer_, rank);
  if (row.index() >= after.size()) {
    spare_rows_used_ = std::max(spare_rows_used_, static_cast<int>(row.index() + 1 - after.size()));
    return;
  }
  ExpertId const wanted = after[row.index()];
  if (!wanted.valid())
    report(PlanRule::wrong_target, rank,
           fmt::format("{} writes expert {} to row {}, which is empty after the move and must stay untouched", what,
                       expert.value(), row.value()));
  else if (row_of(rank, row).content == wanted)
    report(PlanRule::written_twice, rank,
           fmt::format("{} writes expert {} to row {}, which holds its final expert {} already", what, expert.value(),
                       row.value(), wanted.value()));
}

void ScheduleReplay::report(PlanRule rule, RankId rank, std::string text) {
  auto const place =
      rank.valid() ? fmt::format("layer {}, rank {}", layer_, rank.value()) : fmt::format("layer {}", layer_);
  violations_.push_back({rule, layer_, rank, place + ": " + std::move(text)});
}

}  // namespace switchyard::rebalance
