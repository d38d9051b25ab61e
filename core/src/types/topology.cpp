// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/topology.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard {

Topology::Topology(int num_ranks, int num_nodes) : num_ranks_(num_ranks), num_nodes_(num_nodes) {
  SWITCHYARD_REQUIRE(num_nodes >= 1 && num_nodes <= num_ranks, invalid_argument,
                     "{} nodes for {} ranks: there must be at least one node and no more nodes than ranks", num_nodes,
                     num_ranks);
  SWITCHYARD_REQUIRE(num_ranks % num_nodes == 0, invalid_argument,
                     "{} ranks do not divide evenly over {} nodes: use a number of nodes that divides {}", num_ranks,
                     num_nodes, num_ranks);
}

NodeId Topology::node_of(RankId rank) const {
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < num_ranks_, invalid_argument,
                     "rank {} is outside the topology of {} ranks", rank.value(), num_ranks_);
  return NodeId{rank.value() / ranks_per_node()};
}

}  // namespace switchyard
