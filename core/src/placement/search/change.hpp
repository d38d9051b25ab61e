// SPDX-License-Identifier: Apache-2.0
/// Change: a step of the search, what it would do to the ranks it touches, and how it is carried out.
#pragma once

#include <cstddef>

#include "layer_state.hpp"

namespace switchyard::placement {

/// One way to alter a state. `value` is the largest value of the ranks it touches, afterwards.
struct Change {
  enum class Kind { none, exchange, retarget, cycle };
  Kind kind = Kind::none;
  std::size_t slot = kNone;
  std::size_t other = kNone;   // exchange, cycle: the second slot
  std::size_t third = kNone;   // cycle: first -> second -> third -> first
  std::size_t expert = kNone;  // retarget: the new expert, kNone = empty
  double value = 0;
};

void apply(LayerState& state, Change const& change);

/// The value of a slot's rank after the slot was given to `expert`, kNone = emptied.
[[nodiscard]] inline double value_of_rank_after_retarget(LayerState const& state, std::size_t slot,
                                                         std::size_t expert) {
  std::size_t const rank = state.cluster().rank_of_slot[slot];
  double const joined = expert == kNone ? 0 : state.figure_with(expert, state.replicas(expert) + 1);
  return (state.sum(rank) - state.share(state.expert_at(slot)) + joined) / state.cluster().speed[rank];
}

/// The two warmest ranks that an expert with one replica less would leave, were nothing else changed.
struct LossPeaks {
  double first = 0;
  std::size_t first_rank = kNone;
  double second = 0;  // of another rank
  std::size_t second_rank = kNone;
};
/// @pre the expert has at least two replicas.
[[nodiscard]] LossPeaks loss_peaks(LayerState const& state, std::size_t expert);

/// The largest value, after slot `slot` was given to `expert`, of its rank and of the ranks that hold the expert it
/// gives up; stops early above `limit`. Ranks that hold `expert` only cool and are not looked at unless they give
/// something up.
[[nodiscard]] double value_after_retarget(LayerState const& state, std::size_t slot, std::size_t expert, double limit);

/// Whether the slot's expert may be given up for `expert`: it keeps another replica, the newcomer may join, and no more
/// slots are filled than allowed. @param filled slots in use now.
[[nodiscard]] bool may_retarget(LayerState const& state, std::size_t slot, std::size_t expert, std::size_t filled,
                                std::size_t slots_to_fill);

}  // namespace switchyard::placement
