// SPDX-License-Identifier: Apache-2.0
/// Cluster: the ranks, slots and limits of a PolicyRequest in the form the search reads.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "switchyard/placement/problem.hpp"

namespace switchyard::placement {

/// An expert or slot that is none.
inline constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// The same for all layers. Ranks, slots, nodes and experts are plain indices here.
struct Cluster {
  std::size_t num_experts = 0;
  std::size_t num_nodes = 1;
  std::vector<std::size_t> first_slot{};    // [ranks + 1]
  std::vector<std::size_t> rank_of_slot{};  // [slots]
  std::vector<std::size_t> node_of_rank{};  // [ranks]
  std::vector<double> speed{};              // [ranks] 0 = dead
  std::vector<std::size_t> live{};          // serving ranks that have slots, ascending
  double base = 0;                          // figure of a live rank before any slot
  double idle_value = 0;                    // largest value of the serving ranks without slots: nothing goes below it
  std::size_t experts_per_group = 1;
  std::size_t max_nodes_per_group = 0;   // 0 = no limit
  std::size_t max_nodes_per_expert = 0;  // 0 = no limit

  [[nodiscard]] std::size_t num_ranks() const { return speed.size(); }
  [[nodiscard]] std::size_t num_slots() const { return rank_of_slot.size(); }
  [[nodiscard]] std::size_t num_groups() const { return num_experts / experts_per_group; }
  [[nodiscard]] std::size_t group_of(std::size_t expert) const { return expert / experts_per_group; }
  [[nodiscard]] bool has_node_limits() const { return max_nodes_per_group > 0 || max_nodes_per_expert > 0; }
  /// The most replicas that an expert can have without two on one rank.
  [[nodiscard]] std::size_t max_replicas() const { return live.size(); }
};

/// @throws Error{invalid_argument} when a group limit is asked for and the experts do not divide into the groups.
[[nodiscard]] Cluster cluster_of(PolicyRequest const& request, int num_experts);

}  // namespace switchyard::placement
