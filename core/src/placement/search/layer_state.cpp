// SPDX-License-Identifier: Apache-2.0
#include "layer_state.hpp"

#include <algorithm>

namespace switchyard::placement {

namespace {

/// How many of the `nodes` counters starting at `first` are positive once one unit has left `leaving` and one has
/// joined `joining`.
std::size_t nodes_touched(std::vector<std::uint32_t> const& counts, std::size_t first, std::size_t nodes,
                          std::size_t joining, std::size_t leaving) {
  std::size_t touched = 0;
  for (std::size_t node = 0; node < nodes; ++node) {
    std::uint32_t const gone = node == leaving ? 1 : 0;
    touched += node == joining || counts[first + node] > gone ? 1U : 0U;
  }
  return touched;
}

}  // namespace

LayerState::LayerState(Cluster const& cluster, SlotFigures& figures, std::vector<std::size_t> slots)
    : cluster_(&cluster),
      figures_(&figures),
      slots_(slots.size(), kNone),
      slots_of_(cluster.num_experts),
      on_rank_(cluster.num_ranks() * cluster.num_experts, 0),
      share_(cluster.num_experts, 0),
      sum_(cluster.num_ranks(), 0) {
  if (cluster.has_node_limits()) {
    expert_on_node_.assign(cluster.num_experts * cluster.num_nodes, 0);
    group_on_node_.assign(cluster.num_groups() * cluster.num_nodes, 0);
  }
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    put(slot, slots[slot]);
  }
  for (std::size_t expert = 0; expert < cluster.num_experts; ++expert) {
    share_[expert] = replicas(expert) > 0 ? figures.at(expert, replicas(expert)) : 0;
  }
  for (std::size_t rank = 0; rank < cluster.num_ranks(); ++rank) {
    refresh(rank);
  }
}

std::size_t LayerState::hottest() const {
  std::size_t best = cluster_->live.front();
  double best_value = value(best);
  for (std::size_t const rank : cluster_->live) {
    double const candidate = value(rank);
    if (candidate > best_value) {
      best = rank;
      best_value = candidate;
    }
  }
  return best;
}

bool LayerState::within_node_limits(std::size_t expert, std::size_t rank, std::size_t leaving,
                                    std::size_t replaced) const {
  std::size_t const nodes = cluster_->num_nodes;
  std::size_t const joining = cluster_->node_of_rank[rank];
  std::size_t const left = leaving == kNone ? kNone : cluster_->node_of_rank[leaving];
  std::size_t const group = cluster_->group_of(expert);
  bool const group_stays = replaced != kNone && cluster_->group_of(replaced) == group;
  if (cluster_->max_nodes_per_group > 0 && !group_stays &&
      nodes_touched(group_on_node_, group * nodes, nodes, joining, left) > cluster_->max_nodes_per_group) {
    return false;
  }
  return cluster_->max_nodes_per_expert == 0 ||
         nodes_touched(expert_on_node_, expert * nodes, nodes, joining, left) <= cluster_->max_nodes_per_expert;
}

bool LayerState::may_join(std::size_t expert, std::size_t rank, std::size_t leaving, std::size_t replaced) const {
  if (expert == kNone) {
    return true;
  }
  return !holds(rank, expert) && (!cluster_->has_node_limits() || within_node_limits(expert, rank, leaving, replaced));
}

bool LayerState::may_swap(std::size_t slot_a, std::size_t slot_b) const {
  std::size_t const a = slots_[slot_a];
  std::size_t const b = slots_[slot_b];
  std::size_t const rank_a = cluster_->rank_of_slot[slot_a];
  std::size_t const rank_b = cluster_->rank_of_slot[slot_b];
  return a != b && may_join(a, rank_b, rank_a, b) && may_join(b, rank_a, rank_b, a);
}

void LayerState::put(std::size_t slot, std::size_t expert) {
  std::size_t const rank = cluster_->rank_of_slot[slot];
  auto const count = [&](std::size_t who, bool joins) {
    if (who == kNone) {
      return;
    }
    auto& on_rank = on_rank_[rank * cluster_->num_experts + who];
    on_rank = static_cast<std::uint16_t>(joins ? on_rank + 1 : on_rank - 1);
    if (cluster_->has_node_limits()) {
      std::size_t const node = cluster_->node_of_rank[rank];
      auto const change = joins ? 1U : ~0U;
      expert_on_node_[who * cluster_->num_nodes + node] += change;
      group_on_node_[cluster_->group_of(who) * cluster_->num_nodes + node] += change;
    }
  };
  count(slots_[slot], false);
  if (slots_[slot] != kNone) {
    std::erase(slots_of_[slots_[slot]], slot);
  }
  count(expert, true);
  if (expert != kNone) {
    auto& list = slots_of_[expert];
    list.insert(std::lower_bound(list.begin(), list.end(), slot), slot);
  }
  slots_[slot] = expert;
}

void LayerState::refresh(std::size_t rank) {
  double sum = cluster_->base;
  for (std::size_t const expert : experts_on(rank)) {
    sum += share(expert);
  }
  sum_[rank] = sum;
}

void LayerState::refresh_holders(std::size_t expert) {
  if (expert == kNone || replicas(expert) == 0) {
    return;
  }
  share_[expert] = figures_->at(expert, replicas(expert));
  for (std::size_t const slot : slots_of_[expert]) {
    refresh(cluster_->rank_of_slot[slot]);
  }
}

void LayerState::swap(std::size_t slot_a, std::size_t slot_b) {
  std::size_t const a = slots_[slot_a];
  std::size_t const b = slots_[slot_b];
  put(slot_a, b);
  put(slot_b, a);
  refresh(cluster_->rank_of_slot[slot_a]);
  refresh(cluster_->rank_of_slot[slot_b]);
}

void LayerState::retarget(std::size_t slot, std::size_t expert) {
  std::size_t const old = slots_[slot];
  put(slot, expert);
  refresh_holders(old);
  refresh_holders(expert);
  refresh(cluster_->rank_of_slot[slot]);
}

}  // namespace switchyard::placement
