// SPDX-License-Identifier: Apache-2.0
/// Topology: which ranks share a node. The only place that knows what is near.
#pragma once

#include "switchyard/types/ids.hpp"

namespace switchyard {

/// `num_ranks` ranks on `num_nodes` nodes, consecutive ranks together.
class Topology {
 public:
  /// @throws Error{invalid_argument} unless 1 <= num_nodes <= num_ranks and num_nodes divides num_ranks.
  Topology(int num_ranks, int num_nodes);

  [[nodiscard]] int num_ranks() const noexcept { return num_ranks_; }
  [[nodiscard]] int num_nodes() const noexcept { return num_nodes_; }
  [[nodiscard]] int ranks_per_node() const noexcept { return num_ranks_ / num_nodes_; }
  /// @throws Error{invalid_argument} unless 0 <= rank < num_ranks().
  [[nodiscard]] NodeId node_of(RankId rank) const;
  friend bool operator==(Topology const&, Topology const&) = default;

 private:
  int num_ranks_;
  int num_nodes_;
};

}  // namespace switchyard
