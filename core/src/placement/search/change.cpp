// SPDX-License-Identifier: Apache-2.0
#include "change.hpp"

#include <algorithm>

namespace switchyard::placement {

void apply(LayerState& state, Change const& change) {
  switch (change.kind) {
    case Change::Kind::none: break;
    case Change::Kind::exchange: state.swap(change.slot, change.other); break;
    case Change::Kind::retarget: state.retarget(change.slot, change.expert); break;
    case Change::Kind::cycle:
      // a b c becomes c a b: first the contents of slots one and three, then those of two and three.
      state.swap(change.slot, change.third);
      state.swap(change.other, change.third);
      break;
  }
}

LossPeaks loss_peaks(LayerState const& state, std::size_t expert) {
  LossPeaks peaks;
  double const rise = state.figure_with(expert, state.replicas(expert) - 1) - state.share(expert);
  for (std::size_t const slot : state.slots_of(expert)) {
    std::size_t const rank = state.cluster().rank_of_slot[slot];
    double const value = (state.sum(rank) + rise) / state.cluster().speed[rank];
    if (peaks.first_rank == kNone || value > peaks.first) {
      bool const is_new = rank != peaks.first_rank;
      peaks = {value, rank, is_new ? peaks.first : peaks.second, is_new ? peaks.first_rank : peaks.second_rank};
    } else if (rank != peaks.first_rank && (peaks.second_rank == kNone || value > peaks.second)) {
      peaks.second = value;
      peaks.second_rank = rank;
    }
  }
  return peaks;
}

double value_after_retarget(LayerState const& state, std::size_t slot, std::size_t expert, double limit) {
  Cluster const& cluster = state.cluster();
  std::size_t const rank = cluster.rank_of_slot[slot];
  std::size_t const old = state.expert_at(slot);
  double worst = value_of_rank_after_retarget(state, slot, expert);
  if (old == kNone || worst >= limit) {
    return worst;
  }
  double const rise = state.figure_with(old, state.replicas(old) - 1) - state.share(old);
  double const fall = expert == kNone ? 0 : state.share(expert) - state.figure_with(expert, state.replicas(expert) + 1);
  for (std::size_t const holder_slot : state.slots_of(old)) {
    std::size_t const holder = cluster.rank_of_slot[holder_slot];
    if (holder == rank) {
      continue;
    }
    double const cooled = expert != kNone && state.holds(holder, expert) ? fall : 0;
    worst = std::max(worst, (state.sum(holder) + rise - cooled) / cluster.speed[holder]);
    if (worst >= limit) {
      break;
    }
  }
  return worst;
}

bool may_retarget(LayerState const& state, std::size_t slot, std::size_t expert, std::size_t filled,
                  std::size_t slots_to_fill) {
  std::size_t const old = state.expert_at(slot);
  if (old == kNone ? filled >= slots_to_fill : state.replicas(old) < 2) {
    return false;
  }
  return state.may_join(expert, state.cluster().rank_of_slot[slot], kNone, old);
}

}  // namespace switchyard::placement
