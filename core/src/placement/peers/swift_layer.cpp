// SPDX-License-Identifier: Apache-2.0
#include "swift_layer.hpp"

#include <algorithm>
#include <numeric>

namespace switchyard::placement {

namespace {

/// Experts by falling value; the highest expert first on a tie, as a reversed stable sort leaves them.
template <typename Value>
std::vector<std::size_t> falling_experts(std::vector<Value> const& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::reverse(order.begin(), order.end());
  return order;
}

ExpertId id_of(std::size_t expert) {
  return ExpertId(static_cast<std::int32_t>(expert));
}

}  // namespace

SwiftLayer::SwiftLayer(std::span<double const> loads, std::span<ExpertId const> slots, std::size_t num_ranks,
                       SwiftLimits const& limits)
    : loads_(loads),
      slots_per_rank_(slots.size() / num_ranks),
      slots_(slots.begin(), slots.end()),
      limits_(limits),
      held_(num_ranks),
      received_(num_ranks),
      free_slots_(num_ranks, 0),
      primary_(loads.size(), 0),
      share_(loads.size(), 0.0F),
      rank_load_(num_ranks, 0.0F),
      transfers_(num_ranks * num_ranks, 0) {
  find_primaries();
}

void SwiftLayer::find_primaries() {
  std::vector<bool> found(loads_.size(), false);
  for (std::size_t local = 0; local < slots_per_rank_; ++local) {
    for (std::size_t rank = 0; rank < held_.size(); ++rank) {
      ExpertId& slot = slots_of(rank)[local];
      if (found[slot.index()]) {
        slot = kNoExpert;
        ++free_slots_[rank];
        continue;
      }
      found[slot.index()] = true;
      primary_[slot.index()] = rank;
      held_[rank].insert(slot);
    }
  }
}

/// Hands one replica after the other to the expert with the largest share that is not on every rank yet.
/// @return the extra replicas by falling share, then ascending expert; sets the shares.
std::vector<ExpertId> SwiftLayer::redundant_experts() {
  std::vector<double> share(loads_.begin(), loads_.end());
  std::vector<std::size_t> extra(share.size(), 0);
  std::size_t const num_extra = std::accumulate(free_slots_.begin(), free_slots_.end(), std::size_t{0});
  for (std::size_t i = 0; i < num_extra; ++i) {
    auto const order = falling_experts(share);
    auto const has_room = [&](std::size_t expert) { return extra[expert] + 1 < held_.size(); };
    auto const chosen = std::find_if(order.begin(), order.end(), has_room);
    if (chosen == order.end()) break;
    auto const replicas = static_cast<double>(++extra[*chosen]);
    share[*chosen] = share[*chosen] * (replicas + 1) / (replicas + 2);
  }
  std::vector<ExpertId> list;
  for (std::size_t expert = 0; expert < share.size(); ++expert) {
    share_[expert] = static_cast<float>(share[expert]);
    list.insert(list.end(), extra[expert], id_of(expert));
  }
  std::stable_sort(list.begin(), list.end(),
                   [&](ExpertId a, ExpertId b) { return share_[a.index()] > share_[b.index()]; });
  return list;
}

/// @return the lightest rank that has a free slot, lacks the expert and may receive from its primary; the lowest on a
///         tie; the number of ranks if there is none.
std::size_t SwiftLayer::lightest_rank_for(ExpertId expert) const {
  std::size_t best = held_.size();
  std::size_t const from = primary_[expert.index()];
  for (std::size_t rank = 0; rank < held_.size(); ++rank) {
    bool const may = free_slots_[rank] > 0 && held_[rank].count(expert) == 0 &&
                     transfers(from, rank) < limits_.max_transfers_per_pair;
    if (may && (best == held_.size() || rank_load_[rank] < rank_load_[best])) best = rank;
  }
  return best;
}

void SwiftLayer::give(std::size_t rank, std::size_t slot, ExpertId expert) {
  slots_of(rank)[slot] = expert;
  --free_slots_[rank];
  held_[rank].insert(expert);
  received_[rank].insert(expert);
  ++transfers(primary_[expert.index()], rank);
}

/// Slots ascending: float32 sums depend on it.
void SwiftLayer::add_up_ranks() {
  for (std::size_t rank = 0; rank < held_.size(); ++rank) {
    rank_load_[rank] = 0;
    for (ExpertId const expert : slots_of(rank)) {
      if (expert.valid()) rank_load_[rank] += share_[expert.index()];
    }
  }
}

/// Every replica goes into the last free slot of its rank.
void SwiftLayer::place_redundant() {
  auto const redundant = redundant_experts();
  add_up_ranks();
  for (ExpertId const expert : redundant) {
    std::size_t const rank = lightest_rank_for(expert);
    if (rank == held_.size()) continue;
    auto const slots = slots_of(rank);
    auto const last_free = std::find(slots.rbegin(), slots.rend(), kNoExpert);
    give(rank, static_cast<std::size_t>(slots.rend() - last_free) - 1, expert);
    rank_load_[rank] += share_[expert.index()];
  }
}

/// Slots that the pair limit left free take the heaviest experts their rank lacks, whatever the limit says. From here
/// on shares are load / replicas.
void SwiftLayer::fill_free_slots() {
  std::vector<int> replicas(loads_.size(), 0);
  for (auto const& experts : held_) {
    for (ExpertId const expert : experts) ++replicas[expert.index()];
  }
  for (std::size_t expert = 0; expert < share_.size(); ++expert) {
    share_[expert] = static_cast<float>(loads_[expert] / replicas[expert]);
  }
  for (std::size_t rank = 0; rank < held_.size(); ++rank) {
    for (std::size_t slot = 0; slot < slots_per_rank_; ++slot) {
      if (slots_of(rank)[slot].valid()) continue;
      auto const order = falling_experts(share_);
      auto const lacks = [&](std::size_t expert) { return held_[rank].count(id_of(expert)) == 0; };
      std::size_t const expert = *std::find_if(order.begin(), order.end(), lacks);
      give(rank, slot, id_of(expert));
      double const before = replicas[expert]++;
      share_[expert] = static_cast<float>(static_cast<double>(share_[expert]) * (before / (before + 1)));
    }
  }
  add_up_ranks();
}

std::vector<std::size_t> SwiftLayer::ranks_by_load() const {
  std::vector<std::size_t> order(held_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return rank_load_[a] < rank_load_[b]; });
  return order;
}

/// @return the exchange of one expert each that leaves the lighter larger load of the two ranks; the first found, in
///         ascending experts of the hot rank, then of the other. Experts that were received stay.
SwiftLayer::Swap SwiftLayer::best_swap(std::size_t hot, std::size_t other) const {
  double const hot_load = rank_load_[hot];
  double const other_load = rank_load_[other];
  Swap best{ExpertId(-1), ExpertId(-1), hot_load};
  auto const may_leave = [&](ExpertId expert, std::size_t from, std::size_t to) {
    return held_[to].count(expert) == 0 && received_[from].count(expert) == 0;
  };
  for (ExpertId const mine : held_[hot]) {
    if (!may_leave(mine, hot, other)) continue;
    double const out = share_[mine.index()];
    for (ExpertId const theirs : held_[other]) {
      if (!may_leave(theirs, other, hot)) continue;
      double const in = share_[theirs.index()];
      double const larger = std::max(hot_load - out + in, other_load - in + out);
      if (larger < best.larger) best = {mine, theirs, larger};
    }
  }
  return best;
}

bool SwiftLayer::try_swap(std::size_t hot, std::size_t other) {
  int const limit = limits_.max_transfers_per_pair;
  if (transfers(other, hot) >= limit || transfers(hot, other) >= limit) return false;
  Swap const swap = best_swap(hot, other);
  double const gain = static_cast<double>(rank_load_[hot]) - swap.larger;
  if (!swap.from_hot.valid() || gain < limits_.swap_threshold) return false;
  held_[hot].erase(swap.from_hot);
  held_[other].erase(swap.from_other);
  held_[hot].insert(swap.from_other);
  held_[other].insert(swap.from_hot);
  float const shift = share_[swap.from_other.index()] - share_[swap.from_hot.index()];
  rank_load_[hot] += shift;
  rank_load_[other] -= shift;
  received_[hot].insert(swap.from_other);
  received_[other].insert(swap.from_hot);
  ++transfers(other, hot);
  ++transfers(hot, other);
  return true;
}

double SwiftLayer::plan() {
  place_redundant();
  if (std::any_of(free_slots_.begin(), free_slots_.end(), [](std::size_t slots) { return slots > 0; })) {
    fill_free_slots();
  }
  double hottest = 0;
  bool swapped = true;
  for (int round = 0; round < limits_.max_swaps; ++round) {
    auto const order = ranks_by_load();
    std::size_t const hot = order.back();
    hottest = rank_load_[hot];
    if (!swapped) break;
    swapped = std::any_of(order.begin(), order.end() - 1, [&](std::size_t other) { return try_swap(hot, other); });
  }
  return hottest;
}

}  // namespace switchyard::placement
