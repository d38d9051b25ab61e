// SPDX-License-Identifier: Apache-2.0
/// colour_edges(): splits the edges of a bipartite multigraph into matchings; a colour is a round.
#pragma once

#include <span>
#include <vector>

namespace switchyard::rebalance {

struct BipartiteEdge {
  int left;
  int right;
};

/// @return [edges] a colour in [0, num_colours), such that no vertex has two edges of one colour and no colour has more
///         than `max_edges_per_colour` edges (0 = no limit).
/// @param num_colours at least the largest degree, and at least ceil(edges / max_edges_per_colour); then a colouring
///        exists (Koenig; McDiarmid and de Werra for the even sizes).
/// @note deterministic; alternating paths, O(edges * vertices) at worst and short paths in practice. Memory:
///       vertices * num_colours.
[[nodiscard]] std::vector<int> colour_edges(std::span<BipartiteEdge const> edges, int num_left, int num_right,
                                            int num_colours, int max_edges_per_colour = 0);

/// @return the largest number of edges at one vertex.
[[nodiscard]] int max_degree(std::span<BipartiteEdge const> edges, int num_left, int num_right);

}  // namespace switchyard::rebalance
