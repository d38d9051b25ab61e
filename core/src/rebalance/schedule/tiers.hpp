// SPDX-License-Identifier: Apache-2.0
/// Tiers: which links two ranks use and how many transfers a rank's ports take per round.
#pragma once

#include <algorithm>

#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "switchyard/types/topology.hpp"

namespace switchyard::rebalance {

/// More than any two links differ by; keeps a strange ratio of rates, or a hostile file, inside an int.
inline constexpr int kMaxIntraPerRound = 1 << 10;

/// With one node, or one rank per node, there is one tier of links.
class Tiers {
 public:
  /// @throws Error{invalid_argument} as Topology. @param num_ranks of the group, at least 1.
  Tiers(int num_ranks, ScheduleLimits const& limits)
      : topology_(num_ranks, limits.num_nodes == 0 ? num_ranks : limits.num_nodes), intra_(limits.intra_per_round) {}

  [[nodiscard]] int num_nodes() const noexcept { return topology_.num_nodes(); }
  [[nodiscard]] int ranks_per_node() const noexcept { return topology_.ranks_per_node(); }
  [[nodiscard]] int node_of(RankId rank) const { return topology_.node_of(rank).value(); }
  [[nodiscard]] RankId first_rank(int node) const { return RankId(node * topology_.ranks_per_node()); }
  [[nodiscard]] bool same_node(RankId a, RankId b) const { return node_of(a) == node_of(b); }
  [[nodiscard]] bool one_tier() const noexcept {
    return topology_.num_nodes() == 1 || topology_.num_nodes() == topology_.num_ranks();
  }
  /// Transfers per rank, direction and round on one tier.
  [[nodiscard]] int capacity(bool intra) const noexcept { return intra ? intra_ : 1; }
  /// Transfers per rank, direction and round over all tiers that the group has; 1 for a rank that is alone.
  [[nodiscard]] int ports() const noexcept {
    int const network = topology_.num_nodes() > 1 ? 1 : 0;
    return std::max(1, network + (topology_.ranks_per_node() > 1 ? intra_ : 0));
  }

 private:
  Topology topology_;
  int intra_;
};

}  // namespace switchyard::rebalance
