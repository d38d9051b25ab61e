// SPDX-License-Identifier: Apache-2.0
/// A schedule in plain integers, executed in plain loops, and the fewest rounds by trying everything. Shares no code
/// with the library.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace oracle {

struct PlainTransfer {
  int expert, from, source_row, to, target_row;
};
struct PlainCopy {
  int expert, rank, source_row, target_row;
};
struct PlainRound {
  std::vector<PlainTransfer> transfers;
  std::vector<PlainCopy> copies;
};
struct PlainSchedule {
  std::vector<std::vector<int>> before;  // [ranks][slots]
  std::vector<std::vector<int>> after;
  std::vector<int> spare_rows;  // [ranks]
  std::vector<PlainRound> rounds;
  std::vector<PlainCopy> commit;
};

/// Carries the steps out. Rows are read when the round starts; ranks copy in the order given by `rank_order`, one after
/// the other or, with `interleave`, one copy each in turn.
class ScheduleRun {
 public:
  ScheduleRun(PlainSchedule const& schedule, bool reversed_ranks) : schedule_(schedule), reversed_(reversed_ranks) {
    for (std::size_t r = 0; r < schedule.before.size(); ++r) {
      rows_.push_back(schedule.before[r]);
      rows_.back().resize(schedule.before[r].size() + static_cast<std::size_t>(schedule.spare_rows[r]), -1);
      for (int expert : schedule.after[r])
        if (expert != -1) needed_.insert(expert);
    }
    for (auto const& round : schedule.rounds) run_round(round);
    run_copies(schedule.commit);
    for (std::size_t r = 0; r < schedule.after.size(); ++r)
      for (std::size_t row = 0; row < schedule.after[r].size(); ++row)
        if (schedule.after[r][row] != -1 && rows_[r][row] != schedule.after[r][row]) fail("wrong end");
  }

  /// The first thing that went wrong; empty when the schedule is right.
  std::string problem{};
  int spare_rows_used = 0;
  std::map<std::pair<int, int>, int> slot_writes{};  // [rank, row]

 private:
  void fail(std::string const& what) {
    if (problem.empty()) problem = what;
  }
  bool exists(int rank, int row) {
    bool const ok = rank >= 0 && rank < static_cast<int>(rows_.size()) && row >= 0 &&
                    row < static_cast<int>(rows_[static_cast<std::size_t>(rank)].size());
    if (!ok) fail("no such row");
    return ok;
  }
  int& row(int rank, int index) { return rows_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)]; }

  void write(int rank, int index, int expert) {
    auto const slots = static_cast<int>(schedule_.before[static_cast<std::size_t>(rank)].size());
    if (index >= slots)
      spare_rows_used = std::max(spare_rows_used, index - slots + 1);
    else {
      ++slot_writes[{rank, index}];
      if (schedule_.after[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)] == -1)
        fail("empty slot written");
    }
    row(rank, index) = expert;
  }

  /// Every expert that is needed must be somewhere.
  void check_copies() {
    std::set<int> there;
    for (auto const& rank : rows_) there.insert(rank.begin(), rank.end());
    for (int expert : needed_)
      if (there.count(expert) == 0) fail("expert " + std::to_string(expert) + " is nowhere");
  }

  void run_round(PlainRound const& round) {
    std::vector<int> arriving;
    for (auto const& t : round.transfers) {
      if (!exists(t.from, t.source_row) || !exists(t.to, t.target_row)) return;
      if (t.from == t.to) fail("self transfer");
      if (row(t.from, t.source_row) != t.expert || t.expert == -1) fail("wrong source");
      arriving.push_back(row(t.from, t.source_row));
    }
    std::set<std::pair<int, int>> targets;
    for (auto const& t : round.transfers) {
      if (!targets.insert({t.to, t.target_row}).second) fail("received twice");
      row(t.to, t.target_row) = -1;  // under way: nobody has it there yet
    }
    for (auto const& t : round.transfers)
      if (targets.count({t.from, t.source_row}) != 0) fail("sent and received into");
    check_copies();
    for (std::size_t i = 0; i < arriving.size(); ++i)
      write(round.transfers[i].to, round.transfers[i].target_row, arriving[i]);
    run_copies(round.copies);
  }

  void run_copies(std::vector<PlainCopy> const& copies) {
    std::map<int, std::vector<PlainCopy>> of_rank;
    for (auto const& copy : copies) of_rank[reversed_ ? -copy.rank : copy.rank].push_back(copy);
    for (auto const& [rank, list] : of_rank)
      for (auto const& copy : list) {
        if (!exists(copy.rank, copy.source_row) || !exists(copy.rank, copy.target_row)) return;
        if (row(copy.rank, copy.source_row) != copy.expert || copy.expert == -1) fail("wrong copy");
        write(copy.rank, copy.target_row, copy.expert);
        check_copies();
      }
  }

  PlainSchedule const& schedule_;
  bool reversed_;
  std::vector<std::vector<int>> rows_{};
  std::set<int> needed_{};
};

/// The fewest rounds that bring every expert to the ranks that lack it, when a rank sends and receives one per round:
/// breadth-first over what the ranks hold. For a handful of ranks and experts only.
class FewestRounds {
 public:
  /// @param forwarding whether a rank may send what it has received.
  FewestRounds(std::vector<std::vector<int>> const& before, std::vector<std::vector<int>> const& after, bool forwarding)
      : forwarding_(forwarding) {
    for (std::size_t r = 0; r < before.size(); ++r) {
      State own(before[r].begin(), before[r].end());
      std::set<int> lacks;
      for (int expert : after[r])
        if (expert != -1 && own.count(expert) == 0) lacks.insert(expert);
      held_.push_back(own);
      lacked_.push_back(lacks);
    }
  }

  int run() {
    std::set<std::vector<State>> frontier{std::vector<State>(held_.size())};
    for (int rounds = 0;; ++rounds) {
      for (auto const& got : frontier)
        if (got == lacked_) return rounds;
      std::set<std::vector<State>> next;
      for (auto const& got : frontier) extend(got, got, 0, {}, next);
      frontier = std::move(next);
    }
  }

 private:
  using State = std::set<int>;

  void extend(std::vector<State> const& start, std::vector<State> const& now, std::size_t receiver,
              std::set<std::size_t> const& senders, std::set<std::vector<State>>& out) {
    if (receiver == held_.size()) {
      out.insert(now);
      return;
    }
    extend(start, now, receiver + 1, senders, out);
    for (int expert : lacked_[receiver]) {
      if (start[receiver].count(expert) != 0) continue;
      for (std::size_t s = 0; s < held_.size(); ++s) {
        bool const has = held_[s].count(expert) != 0 || (forwarding_ && start[s].count(expert) != 0);
        if (s == receiver || !has || senders.count(s) != 0) continue;
        auto more = now;
        more[receiver].insert(expert);
        auto busy = senders;
        busy.insert(s);
        extend(start, more, receiver + 1, busy, out);
      }
    }
  }

  bool forwarding_;
  std::vector<State> held_{};
  std::vector<State> lacked_{};
};

}  // namespace oracle
