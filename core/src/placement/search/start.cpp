// SPDX-License-Identifier: Apache-2.0
#include "start.hpp"

#include <algorithm>
#include <numeric>
#include <queue>

#include "switchyard/internal/require.hpp"

namespace switchyard::placement {

namespace {

struct Replica {
  double figure;
  std::size_t expert;
};

/// Heaviest first, the lower expert on a tie.
std::vector<Replica> falling_replicas(SlotFigures& figures, std::vector<std::size_t> const& replicas) {
  std::vector<Replica> list;
  for (std::size_t expert = 0; expert < replicas.size(); ++expert) {
    for (std::size_t copy = 0; copy < replicas[expert]; ++copy) {
      list.push_back({figures.at(expert, replicas[expert]), expert});
    }
  }
  std::stable_sort(list.begin(), list.end(), [](Replica const& a, Replica const& b) { return a.figure > b.figure; });
  return list;
}

/// Fills the free slots of a domain's ranks.
class Packer {
 public:
  Packer(Cluster const& cluster, SlotFigures& figures, Domain const& domain, std::vector<std::size_t> const& replicas)
      : cluster_(cluster),
        domain_(domain),
        figures_(figures),
        replicas_(replicas),
        state_(cluster, figures, std::vector<std::size_t>(cluster.num_slots(), kNone)),
        sum_(cluster.num_ranks(), cluster.base),
        filled_(cluster.num_ranks(), 0) {}

  void add(std::size_t expert) {
    std::size_t const rank = lightest(expert);
    if (rank != kNone) {
      put(expert, rank);
    } else {
      trade(expert);
    }
  }

  [[nodiscard]] LayerState const& state() const { return state_; }

 private:
  [[nodiscard]] double figure(std::size_t expert) { return figures_.at(expert, replicas_[expert]); }
  [[nodiscard]] bool has_room(std::size_t rank) const {
    return cluster_.first_slot[rank] + filled_[rank] < cluster_.first_slot[rank + 1];
  }

  std::size_t lightest(std::size_t expert) {
    std::size_t best = kNone;
    double best_value = 0;
    for (std::size_t const rank : domain_.ranks) {
      double const value = (sum_[rank] + figure(expert)) / cluster_.speed[rank];
      if (has_room(rank) && (best == kNone || value < best_value) && state_.may_join(expert, rank, kNone, kNone)) {
        best = rank;
        best_value = value;
      }
    }
    return best;
  }

  void put(std::size_t expert, std::size_t rank) {
    state_.place(cluster_.first_slot[rank] + filled_[rank]++, expert);
    sum_[rank] += figure(expert);
  }

  /// `expert` takes the place of another one that fits a rank with room. The first such pair, ranks ascending.
  void trade(std::size_t expert) {
    for (std::size_t const roomy : domain_.ranks) {
      if (!has_room(roomy)) {
        continue;
      }
      for (std::size_t const rank : domain_.ranks) {
        for (std::size_t slot = cluster_.first_slot[rank]; slot < cluster_.first_slot[rank] + filled_[rank]; ++slot) {
          std::size_t const other = state_.expert_at(slot);
          if (state_.may_join(expert, rank, kNone, other) && state_.may_join(other, roomy, rank, kNone)) {
            state_.place(slot, expert);
            sum_[rank] += figure(expert) - figure(other);
            put(other, roomy);
            return;
          }
        }
      }
    }
  }

  Cluster const& cluster_;
  Domain const& domain_;
  SlotFigures& figures_;
  std::vector<std::size_t> const& replicas_;
  LayerState state_;
  std::vector<double> sum_;          // [ranks]
  std::vector<std::size_t> filled_;  // [ranks]
};

std::size_t slots_of_rank(Cluster const& cluster, std::size_t rank) {
  return cluster.first_slot[rank + 1] - cluster.first_slot[rank];
}

/// One domain per node, without experts yet; `slots` holds all slots of the node.
std::vector<Domain> nodes_of(Cluster const& cluster) {
  std::vector<Domain> nodes(cluster.num_nodes);
  for (std::size_t const rank : cluster.live) {
    nodes[cluster.node_of_rank[rank]].ranks.push_back(rank);
    nodes[cluster.node_of_rank[rank]].slots += slots_of_rank(cluster, rank);
  }
  return nodes;
}

double group_figure(Cluster const& cluster, SlotFigures& figures, std::size_t group) {
  double sum = 0;
  for (std::size_t i = 0; i < cluster.experts_per_group; ++i) {
    sum += figures.at(group * cluster.experts_per_group + i, 1);
  }
  return sum;
}

/// Groups onto nodes, heaviest first, each onto the node that stays lightest for its speed.
void pack_groups(Cluster const& cluster, SlotFigures& figures, std::vector<Domain>& nodes) {
  std::vector<std::pair<double, std::size_t>> groups;
  for (std::size_t group = 0; group < cluster.num_groups(); ++group) {
    groups.emplace_back(group_figure(cluster, figures, group), group);
  }
  std::stable_sort(groups.begin(), groups.end(), [](auto const& a, auto const& b) { return a.first > b.first; });
  std::vector<double> load(nodes.size(), 0);
  for (auto const& [figure, group] : groups) {
    std::size_t best = kNone;
    double best_value = 0;
    for (std::size_t node = 0; node < nodes.size(); ++node) {
      double speed = 0;
      for (std::size_t const rank : nodes[node].ranks) {
        speed += cluster.speed[rank];
      }
      double const value = speed > 0 ? (load[node] + figure) / speed : 0;
      bool const has_room = nodes[node].experts.size() + cluster.experts_per_group <= nodes[node].slots;
      if (has_room && (best == kNone || value < best_value)) {
        best = node;
        best_value = value;
      }
    }
    SWITCHYARD_REQUIRE(best != kNone, invalid_argument,
                       "group {} of {} experts fits no node beside the groups placed before: give the nodes more slots "
                       "or drop the limit of nodes per group",
                       group, cluster.experts_per_group);
    load[best] += figure;
    for (std::size_t i = 0; i < cluster.experts_per_group; ++i) {
      nodes[best].experts.push_back(group * cluster.experts_per_group + i);
    }
  }
}

/// Spreads `slots_to_fill` over the nodes: one slot per expert, the rest by free slots, the first nodes first.
void share_slots(std::vector<Domain>& nodes, std::size_t slots_to_fill) {
  std::size_t spare = slots_to_fill;
  for (auto const& node : nodes) {
    spare -= node.experts.size();
  }
  std::vector<std::size_t> room;
  for (auto& node : nodes) {
    room.push_back(node.slots - node.experts.size());
    node.slots = node.experts.size();
  }
  for (std::size_t node = 0; spare > 0; node = (node + 1) % nodes.size()) {
    if (room[node] > 0) {
      --room[node];
      --spare;
      ++nodes[node].slots;
    }
  }
}

/// The best slot to exchange with `slot`, or kNone.
std::size_t best_exchange(LayerState const& state, std::size_t slot) {
  Cluster const& cluster = state.cluster();
  std::size_t const rank = cluster.rank_of_slot[slot];
  double const share = state.share(state.expert_at(slot));
  std::size_t best = kNone;
  double best_value = 0;
  for (std::size_t const other_rank : cluster.live) {
    for (std::size_t other = cluster.first_slot[other_rank]; other < cluster.first_slot[other_rank + 1]; ++other) {
      double const gain = state.share(state.expert_at(other)) - share;
      double const value = std::max((state.sum(rank) + gain) / cluster.speed[rank],
                                    (state.sum(other_rank) - gain) / cluster.speed[other_rank]);
      if (other_rank != rank && (best == kNone || value < best_value) && state.may_swap(slot, other)) {
        best = other;
        best_value = value;
      }
    }
  }
  return best;
}

/// The expert with the largest slot figure that may join, or kNone.
std::size_t best_replacement(LayerState const& state, std::size_t slot) {
  std::size_t best = kNone;
  for (std::size_t expert = 0; expert < state.cluster().num_experts; ++expert) {
    if ((best == kNone || state.share(expert) > state.share(best)) &&
        state.may_join(expert, state.cluster().rank_of_slot[slot], kNone, state.expert_at(slot))) {
      best = expert;
    }
  }
  return best;
}

}  // namespace

std::vector<Domain> domains_of(Cluster const& cluster, SlotFigures& figures, std::size_t slots_to_fill) {
  if (cluster.max_nodes_per_group == 0) {
    std::vector<std::size_t> experts(cluster.num_experts);
    std::iota(experts.begin(), experts.end(), std::size_t{0});
    return {Domain{std::move(experts), cluster.live, slots_to_fill}};
  }
  auto nodes = nodes_of(cluster);
  pack_groups(cluster, figures, nodes);
  for (auto& node : nodes) {
    std::sort(node.experts.begin(), node.experts.end());
  }
  share_slots(nodes, slots_to_fill);
  return nodes;
}

std::vector<std::size_t> greedy_replicas(Cluster const& cluster, SlotFigures& figures, Domain const& domain) {
  std::vector<std::size_t> replicas(cluster.num_experts, 0);
  auto const lighter = [](Replica const& a, Replica const& b) {
    return a.figure < b.figure || (a.figure == b.figure && a.expert > b.expert);
  };
  std::priority_queue<Replica, std::vector<Replica>, decltype(lighter)> heaviest(lighter);
  for (std::size_t const expert : domain.experts) {
    replicas[expert] = 1;
    heaviest.push({figures.at(expert, 1), expert});
  }
  std::size_t const most = domain.ranks.size();
  for (std::size_t spare = domain.slots - domain.experts.size(); spare > 0 && !heaviest.empty();) {
    std::size_t const expert = heaviest.top().expert;
    double const now = heaviest.top().figure;
    heaviest.pop();
    if (replicas[expert] < most && (now == 0 || figures.at(expert, replicas[expert] + 1) < now)) {
      heaviest.push({figures.at(expert, ++replicas[expert]), expert});
      --spare;
    }
  }
  return replicas;
}

void pack(Cluster const& cluster, SlotFigures& figures, Domain const& domain, std::vector<std::size_t> const& replicas,
          std::vector<std::size_t>& slots) {
  Packer packer(cluster, figures, domain, replicas);
  for (Replica const& replica : falling_replicas(figures, replicas)) {
    packer.add(replica.expert);
  }
  for (std::size_t const rank : domain.ranks) {
    for (std::size_t slot = cluster.first_slot[rank]; slot < cluster.first_slot[rank + 1]; ++slot) {
      slots[slot] = packer.state().expert_at(slot);
    }
  }
}

LayerState greedy_start(Cluster const& cluster, SlotFigures& figures, std::size_t slots_to_fill) {
  std::vector<std::size_t> slots(cluster.num_slots(), kNone);
  for (Domain const& domain : domains_of(cluster, figures, slots_to_fill)) {
    if (!domain.experts.empty()) {
      pack(cluster, figures, domain, greedy_replicas(cluster, figures, domain), slots);
    }
  }
  return LayerState(cluster, figures, std::move(slots));
}

std::size_t remove_duplicates(LayerState& state) {
  std::size_t found = 0;
  for (std::size_t const rank : state.cluster().live) {
    for (std::size_t slot = state.cluster().first_slot[rank]; slot < state.cluster().first_slot[rank + 1]; ++slot) {
      std::size_t const expert = state.expert_at(slot);
      if (expert == kNone || state.replicas_on(rank, expert) < 2) {
        continue;
      }
      ++found;
      std::size_t const other = best_exchange(state, slot);
      if (other != kNone) {
        state.swap(slot, other);
      } else {
        state.retarget(slot, best_replacement(state, slot));
      }
    }
  }
  return found;
}

}  // namespace switchyard::placement
