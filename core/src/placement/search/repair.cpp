// SPDX-License-Identifier: Apache-2.0
#include "repair.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "change.hpp"
#include "start.hpp"

namespace switchyard::placement {

namespace {

/// The best slot for an expert that has none: an empty one, or one of an expert with several.
std::size_t best_slot_for(LayerState const& state, std::size_t expert, std::size_t filled, std::size_t slots_to_fill) {
  std::size_t best = kNone;
  double best_value = std::numeric_limits<double>::infinity();
  for (std::size_t const rank : state.cluster().live) {
    for (std::size_t slot = state.cluster().first_slot[rank]; slot < state.cluster().first_slot[rank + 1]; ++slot) {
      if (may_retarget(state, slot, expert, filled, slots_to_fill)) {
        double const value = value_after_retarget(state, slot, expert, best_value);
        if (value < best_value) {
          best = slot;
          best_value = value;
        }
      }
    }
  }
  return best;
}

std::size_t count_filled(LayerState const& state) {
  return state.slots().size() - static_cast<std::size_t>(std::count(state.slots().begin(), state.slots().end(), kNone));
}

/// A block of experts, a group or a single one, and how many nodes it may stand on.
struct Block {
  std::size_t first;
  std::size_t last;
  std::size_t max_nodes;
};

/// @return the nodes that a block gives up: all but those where it has most slots.
std::vector<bool> nodes_to_leave(LayerState const& state, Block const& block) {
  Cluster const& cluster = state.cluster();
  std::vector<std::size_t> slots(cluster.num_nodes, 0);
  for (std::size_t expert = block.first; expert < block.last; ++expert) {
    for (std::size_t const slot : state.slots_of(expert)) {
      ++slots[cluster.node_of_rank[cluster.rank_of_slot[slot]]];
    }
  }
  std::vector<std::size_t> order(cluster.num_nodes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return slots[a] > slots[b]; });
  std::vector<bool> leaves(cluster.num_nodes, false);
  for (std::size_t i = block.max_nodes; i < order.size(); ++i) {
    leaves[order[i]] = slots[order[i]] > 0;
  }
  return leaves;
}

void keep_limit(LayerState& state, Block const& block) {
  auto const leaves = nodes_to_leave(state, block);
  for (std::size_t slot = 0; slot < state.slots().size(); ++slot) {
    std::size_t const expert = state.expert_at(slot);
    bool const is_inside = expert != kNone && expert >= block.first && expert < block.last;
    if (is_inside && leaves[state.cluster().node_of_rank[state.cluster().rank_of_slot[slot]]]) {
      state.retarget(slot, kNone);
    }
  }
}

void keep_node_limits(LayerState& state) {
  Cluster const& cluster = state.cluster();
  for (std::size_t group = 0; cluster.max_nodes_per_group > 0 && group < cluster.num_groups(); ++group) {
    std::size_t const first = group * cluster.experts_per_group;
    keep_limit(state, {first, first + cluster.experts_per_group, cluster.max_nodes_per_group});
  }
  for (std::size_t expert = 0; cluster.max_nodes_per_expert > 0 && expert < cluster.num_experts; ++expert) {
    keep_limit(state, {expert, expert + 1, cluster.max_nodes_per_expert});
  }
}

/// Gives `slot` to `expert` and its expert to the empty slot `free`, if both may stand there.
bool try_displace(LayerState& state, std::size_t expert, std::size_t slot, std::size_t free) {
  std::size_t const other = state.expert_at(slot);
  auto const& rank_of = state.cluster().rank_of_slot;
  if (other == kNone || !state.may_join(expert, rank_of[slot], kNone, other)) {
    return false;
  }
  state.retarget(slot, expert);
  if (state.may_join(other, rank_of[free], kNone, kNone)) {
    state.retarget(free, other);
    return true;
  }
  state.retarget(slot, other);
  return false;
}

/// `expert` takes the slot of another one, which moves to an empty slot: the first such pair. @return whether found.
bool displace(LayerState& state, std::size_t expert) {
  for (std::size_t free = 0; free < state.slots().size(); ++free) {
    if (state.expert_at(free) != kNone || state.cluster().speed[state.cluster().rank_of_slot[free]] <= 0) {
      continue;
    }
    for (std::size_t slot = 0; slot < state.slots().size(); ++slot) {
      if (try_displace(state, expert, slot, free)) {
        return true;
      }
    }
  }
  return false;
}

/// @return whether every expert has a slot now.
bool serve_all(LayerState& state, std::size_t slots_to_fill) {
  std::vector<std::size_t> missing;
  for (std::size_t expert = 0; expert < state.cluster().num_experts; ++expert) {
    if (state.replicas(expert) == 0) {
      missing.push_back(expert);
    }
  }
  std::stable_sort(missing.begin(), missing.end(),
                   [&](std::size_t a, std::size_t b) { return state.figure_with(a, 1) > state.figure_with(b, 1); });
  bool is_complete = true;
  for (std::size_t const expert : missing) {
    std::size_t const slot = best_slot_for(state, expert, count_filled(state), slots_to_fill);
    if (slot != kNone) {
      state.retarget(slot, expert);
    } else {
      is_complete = count_filled(state) < slots_to_fill && displace(state, expert) && is_complete;
    }
  }
  return is_complete;
}

void empty_surplus(LayerState& state, std::size_t slots_to_fill) {
  while (count_filled(state) > slots_to_fill) {
    std::size_t lightest = kNone;
    for (std::size_t slot = 0; slot < state.slots().size(); ++slot) {
      std::size_t const expert = state.expert_at(slot);
      if (expert != kNone && state.replicas(expert) > 1 &&
          (lightest == kNone || state.share(expert) < state.share(state.expert_at(lightest)))) {
        lightest = slot;
      }
    }
    state.retarget(lightest, kNone);
  }
}

}  // namespace

void make_servable(LayerState& state, SlotFigures& figures, std::size_t slots_to_fill) {
  if (state.cluster().has_node_limits()) {
    keep_node_limits(state);
  }
  if (!serve_all(state, slots_to_fill)) {
    state = greedy_start(state.cluster(), figures, slots_to_fill);
  }
  empty_surplus(state, slots_to_fill);
}

}  // namespace switchyard::placement
