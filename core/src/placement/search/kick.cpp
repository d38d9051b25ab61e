// SPDX-License-Identifier: Apache-2.0
#include "kick.hpp"

#include "change.hpp"

namespace switchyard::placement {

namespace {

constexpr int kChanges = 3;
constexpr int kTriesPerChange = 16;

std::size_t draw_slot(LayerState const& state, Draws& draws) {
  auto const& live = state.cluster().live;
  std::size_t const rank = live[draws.below(live.size())];
  return state.cluster().first_slot[rank] + draws.below(state.experts_on(rank).size());
}

bool try_exchange(LayerState& state, Draws& draws) {
  std::size_t const slot = draw_slot(state, draws);
  std::size_t const other = draw_slot(state, draws);
  bool const differ = state.cluster().rank_of_slot[slot] != state.cluster().rank_of_slot[other];
  if (!differ || !state.may_swap(slot, other)) {
    return false;
  }
  state.swap(slot, other);
  return true;
}

bool try_retarget(LayerState& state, Draws& draws) {
  std::size_t const slot = draw_slot(state, draws);
  std::size_t const expert = draws.below(state.cluster().num_experts);
  bool const is_filled = state.expert_at(slot) != kNone;
  if (!is_filled || state.replicas(expert) >= state.cluster().max_replicas() ||
      !may_retarget(state, slot, expert, 0, 0)) {
    return false;
  }
  state.retarget(slot, expert);
  return true;
}

}  // namespace

void kick(LayerState& state, Draws& draws) {
  for (int change = 0; change < kChanges; ++change) {
    bool const exchanges = draws.below(2) == 0;
    for (int tries = 0; tries < kTriesPerChange; ++tries) {
      if (exchanges ? try_exchange(state, draws) : try_retarget(state, draws)) {
        break;
      }
    }
  }
}

}  // namespace switchyard::placement
