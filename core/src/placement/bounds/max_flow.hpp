// SPDX-License-Identifier: Apache-2.0
/// MaxFlow: the largest flow through a network of integer capacities, exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace switchyard::placement {

/// A directed network. Capacities are integers, so flows are integers and the result is exact.
class MaxFlow {
 public:
  static constexpr std::int64_t kUnlimited = std::int64_t{1} << 62;

  explicit MaxFlow(std::size_t num_nodes) : edges_of_(num_nodes) {}

  /// @return the edge's number, for capacity() and flow(). Capacities are not negative and at most kUnlimited.
  std::size_t add_edge(std::size_t from, std::size_t to, std::int64_t capacity);
  /// Takes effect with the next run().
  void set_capacity(std::size_t edge, std::int64_t capacity) { capacity_[edge] = capacity; }

  /// Computes a largest flow from nothing. @param source and @param sink differ.
  /// @note Dinic's algorithm: O(nodes^2 * edges), far less on the unit-like networks of placements. Deterministic:
  ///       edges are tried in the order they were added.
  std::int64_t run(std::size_t source, std::size_t sink);

  /// After run(): @return the flow on an edge.
  [[nodiscard]] std::int64_t flow(std::size_t edge) const { return residual_[2 * edge + 1]; }
  /// After run(): whether `node` is on the source's side of a smallest cut, the side that is as small as possible.
  [[nodiscard]] bool on_source_side(std::size_t node) const { return level_[node] >= 0; }

 private:
  bool build_levels(std::size_t source, std::size_t sink);
  std::int64_t push(std::size_t source, std::size_t sink);
  void reset();

  std::vector<std::vector<std::size_t>> edges_of_;  // arcs leaving a node: 2 * edge, and 2 * edge + 1 backwards
  std::vector<std::size_t> head_;                   // [arcs]
  std::vector<std::int64_t> capacity_;              // [edges]
  std::vector<std::int64_t> residual_;              // [arcs]
  std::vector<int> level_;                          // [nodes] -1 = not reached
  std::vector<std::size_t> next_;                   // [nodes] first arc not yet exhausted in this phase
};

}  // namespace switchyard::placement
