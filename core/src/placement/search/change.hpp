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

/// The largest value, after slot `slot` was given to `expert`, of its rank and of the ranks that hold the expert it
/// gives up; stops early above `limit`. Ranks that hold `expert` only cool and are not looked at unless they give
/// something up.
[[nodiscard]] double value_after_retarget(LayerState const& state, std::size_t slot, std::size_t expert, double limit);

/// Whether the slot's expert may be given up for `expert`: it keeps another replica, the newcomer may join, and no more
/// slots are filled than allowed. @param filled slots in use now.
[[nodiscard]] bool may_retarget(LayerState const& state, std::size_t slot, std::size_t expert, std::size_t filled,
                                std::size_t slots_to_fill);

}  // namespace switchyard::placement
