// SPDX-License-Identifier: Apache-2.0
/// Oracle of vLLM's expert rearrangement in plain loops: what each rank sends, receives and copies, and where every
/// row's bytes come from in the end. Written from the rules of rebalance_execute.py; slow, obvious, and no code of the
/// library.
///
/// Worked example, four ranks with one slot, before 0 0 0 1, after 0 0 0 0: the holders of 0 are ranks 0, 1, 2, only
/// rank 3 lacks it, so q = 1 div 3 = 0 and the leftover goes to the first holder: rank 0 sends 0 to rank 3.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace oracle {

using Ints = std::vector<int>;
/// [expert, row, peer] for messages, [expert, source row, target row] for copies.
using Triple = std::array<int, 3>;

/// One layer. Slots are numbered rank by rank.
struct Move {
  Ints slots_per_rank;
  Ints before;
  Ints after;
};

struct RankTransfers {
  std::vector<Triple> sends{};
  std::vector<Triple> receives{};
  std::vector<Triple> local_copies{};
  std::vector<Triple> duplicates{};
  friend bool operator==(RankTransfers const&, RankTransfers const&) = default;
};

inline std::size_t at(int index) {
  return static_cast<std::size_t>(index);
}

inline int count(Ints const& list) {
  return static_cast<int>(list.size());
}

inline int first_slot(Ints const& slots_per_rank, int rank) {
  int slot = 0;
  for (int r = 0; r < rank; ++r) slot += slots_per_rank[at(r)];
  return slot;
}

inline int rank_of(Ints const& slots_per_rank, int slot) {
  int rank = 0;
  while (slot >= first_slot(slots_per_rank, rank) + slots_per_rank[at(rank)]) ++rank;
  return rank;
}

/// Ranks that have the expert, in order of first appearance.
inline Ints ranks_with(Ints const& slots_per_rank, Ints const& map, int expert) {
  Ints ranks;
  for (int slot = 0; slot < count(map); ++slot) {
    int const rank = rank_of(slots_per_rank, slot);
    bool const known = std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
    if (map[at(slot)] == expert && !known) ranks.push_back(rank);
  }
  return ranks;
}

inline Ints receivers_of(Move const& move, int expert) {
  Ints const senders = ranks_with(move.slots_per_rank, move.before, expert);
  Ints receivers;
  for (int const rank : ranks_with(move.slots_per_rank, move.after, expert))
    if (std::find(senders.begin(), senders.end(), rank) == senders.end()) receivers.push_back(rank);
  return receivers;
}

inline Ints rows_of(Move const& move, Ints const& map, int rank) {
  int const first = first_slot(move.slots_per_rank, rank);
  return Ints(map.begin() + first, map.begin() + first + move.slots_per_rank[at(rank)]);
}

/// The first row that holds the expert, -1 if none.
inline int first_row(Ints const& rows, int expert) {
  for (int row = 0; row < count(rows); ++row)
    if (rows[at(row)] == expert) return row;
  return -1;
}

inline std::vector<Triple> sends_of(Move const& move, int rank) {
  Ints const rows = rows_of(move, move.before, rank);
  std::set<int> experts(rows.begin(), rows.end());
  experts.erase(-1);
  std::vector<Triple> sends;
  for (int const expert : experts) {
    Ints const senders = ranks_with(move.slots_per_rank, move.before, expert);
    Ints const receivers = receivers_of(move, expert);
    if (receivers.empty()) continue;
    int const share = count(receivers) / count(senders);
    int const position = static_cast<int>(std::find(senders.begin(), senders.end(), rank) - senders.begin());
    for (int i = position * share; i < (position + 1) * share; ++i)
      sends.push_back({expert, first_row(rows, expert), receivers[at(i)]});
    int const leftover = count(senders) * share + position;
    if (leftover < count(receivers)) sends.push_back({expert, first_row(rows, expert), receivers[at(leftover)]});
  }
  return sends;
}

/// Experts that the rank needs and does not have, ascending, each with the first of its rows there.
inline std::map<int, int> primary_rows(Move const& move, int rank) {
  Ints const before = rows_of(move, move.before, rank);
  Ints const after = rows_of(move, move.after, rank);
  std::map<int, int> primary;
  for (int row = 0; row < count(after); ++row)
    if (after[at(row)] != -1 && first_row(before, after[at(row)]) == -1) primary.emplace(after[at(row)], row);
  return primary;
}

inline std::vector<Triple> receives_of(Move const& move, int rank) {
  std::vector<Triple> receives;
  for (auto const& [expert, row] : primary_rows(move, rank)) {
    Ints const senders = ranks_with(move.slots_per_rank, move.before, expert);
    Ints const receivers = receivers_of(move, expert);
    if (senders.empty()) continue;
    int const share = count(receivers) / count(senders);
    int const position = static_cast<int>(std::find(receivers.begin(), receivers.end(), rank) - receivers.begin());
    int const sender = position < count(senders) * share ? position / share : position - count(senders) * share;
    receives.push_back({expert, row, senders[at(sender)]});
  }
  return receives;
}

inline RankTransfers transfers_of(Move const& move, int rank) {
  RankTransfers lists{sends_of(move, rank), receives_of(move, rank)};
  Ints const before = rows_of(move, move.before, rank);
  Ints const after = rows_of(move, move.after, rank);
  auto const primary = primary_rows(move, rank);
  for (int row = 0; row < count(after); ++row) {
    int const expert = after[at(row)];
    if (expert == -1 || expert == before[at(row)]) continue;
    int const source = first_row(before, expert);
    if (source != -1) lists.local_copies.push_back({expert, source, row});
    if (source == -1 && primary.at(expert) != row) lists.duplicates.push_back({expert, primary.at(expert), row});
  }
  return lists;
}

/// What happens when every rank executes its lists, whatever they are.
struct Outcome {
  bool completed =
      false;      ///< no message without its receive or receive without its message, no rank or row out of range
  Ints origin{};  ///< [slots] the slot of `before` whose bytes every slot holds
};

/// Executes lists with one buffer row per slot and one FIFO mailbox per ordered pair of ranks.
class Executor {
 public:
  Executor(Ints const& slots_per_rank, std::vector<RankTransfers> const& lists)
      : slots_per_rank_(slots_per_rank), lists_(lists) {}

  Outcome run() {
    int const slots = first_slot(slots_per_rank_, count(slots_per_rank_));
    for (int slot = 0; slot < slots; ++slot) weight_.push_back(slot);
    buffer_.assign(weight_.size(), -1);
    for (int rank = 0; rank < count(slots_per_rank_); ++rank) stage(rank);
    for (int rank = 0; rank < count(slots_per_rank_); ++rank) receive(rank);
    for (auto const& [pair, box] : mailboxes_) ok_ = ok_ && box.empty();
    if (!ok_) return {};
    for (std::size_t slot = 0; slot < weight_.size(); ++slot)
      if (buffer_[slot] != -1) weight_[slot] = buffer_[slot];
    for (int rank = 0; rank < count(slots_per_rank_); ++rank) duplicate(rank);
    return {ok_, weight_};
  }

 private:
  bool valid_row(int rank, int row) {
    bool const valid = row >= 0 && row < slots_per_rank_[at(rank)];
    ok_ = ok_ && valid;
    return valid;
  }
  bool valid_peer(int rank, int peer) {
    bool const valid = peer >= 0 && peer < count(slots_per_rank_) && peer != rank;
    ok_ = ok_ && valid;
    return valid;
  }
  std::size_t slot(int rank, int row) const { return at(first_slot(slots_per_rank_, rank) + row); }

  void stage(int rank) {
    for (auto const& [expert, source, target] : lists_[at(rank)].local_copies)
      if (valid_row(rank, source) && valid_row(rank, target)) buffer_[slot(rank, target)] = weight_[slot(rank, source)];
    for (auto const& [expert, row, to] : lists_[at(rank)].sends)
      if (valid_row(rank, row) && valid_peer(rank, to)) mailboxes_[{rank, to}].push_back(weight_[slot(rank, row)]);
  }

  void receive(int rank) {
    for (auto const& [expert, row, from] : lists_[at(rank)].receives) {
      if (!valid_row(rank, row) || !valid_peer(rank, from)) continue;
      auto& box = mailboxes_[{from, rank}];
      ok_ = ok_ && !box.empty();
      if (box.empty()) continue;
      buffer_[slot(rank, row)] = box.front();
      box.pop_front();
    }
  }

  void duplicate(int rank) {
    for (auto const& [expert, source, target] : lists_[at(rank)].duplicates)
      if (valid_row(rank, source) && valid_row(rank, target)) weight_[slot(rank, target)] = weight_[slot(rank, source)];
  }

  Ints const& slots_per_rank_;
  std::vector<RankTransfers> const& lists_;
  bool ok_ = true;
  Ints weight_{};
  Ints buffer_{};
  std::map<std::pair<int, int>, std::deque<int>> mailboxes_{};
};

inline std::vector<RankTransfers> all_transfers(Move const& move) {
  std::vector<RankTransfers> lists;
  for (int rank = 0; rank < count(move.slots_per_rank); ++rank) lists.push_back(transfers_of(move, rank));
  return lists;
}

/// Whether an outcome is the move: every slot that must hold an expert holds its bytes.
inline bool fulfils(Outcome const& outcome, Move const& move) {
  if (!outcome.completed) return false;
  for (std::size_t slot = 0; slot < move.after.size(); ++slot) {
    bool const right = move.before[at(outcome.origin[slot])] == move.after[slot];
    if (move.after[slot] != -1 && !right) return false;
  }
  return true;
}

/// Experts of `after` that no rank has in `before`.
inline std::set<int> missing_experts(Move const& move) {
  std::set<int> missing(move.after.begin(), move.after.end());
  for (int const expert : move.before) missing.erase(expert);
  missing.erase(-1);
  return missing;
}

/// Whether a slot names something that is neither an expert nor -1.
inline bool has_id_out_of_range(Move const& move, int num_experts) {
  auto const outside = [&](int id) { return id < -1 || id >= num_experts; };
  return std::any_of(move.before.begin(), move.before.end(), outside) ||
         std::any_of(move.after.begin(), move.after.end(), outside);
}

/// vLLM's rank mapping on a map of equal blocks: block o of a map goes to block to[o] of `num_blocks` blocks.
inline Ints spread_blocks(Ints const& map, int block, Ints const& to, int num_blocks) {
  Ints spread(at(num_blocks * block), -1);
  for (int o = 0; o < count(to); ++o)
    for (int row = 0; to[at(o)] != -1 && row < block; ++row)
      spread[at(to[at(o)] * block + row)] = map[at(o * block + row)];
  return spread;
}

/// The opposite direction: block o of the result is block from[o] of the map.
inline Ints gather_blocks(Ints const& map, int block, Ints const& from) {
  Ints gathered(from.size() * at(block), -1);
  for (int o = 0; o < count(from); ++o)
    for (int row = 0; from[at(o)] != -1 && row < block; ++row)
      gathered[at(o * block + row)] = map[at(from[at(o)] * block + row)];
  return gathered;
}

}  // namespace oracle
