// SPDX-License-Identifier: Apache-2.0
/// LayerState: one layer's placement while it is being improved, with the figure of every rank kept up to date.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cluster.hpp"
#include "slot_figures.hpp"

namespace switchyard::placement {

/// Slots, replica counts and rank figures. A rank's figure is summed anew, slots ascending, whenever one of its slots
/// changes, so that equal placements have equal figures whatever led to them.
class LayerState {
 public:
  /// @param slots [slots] expert or kNone. Slots of dead ranks must be kNone. The cluster and figures outlive this.
  LayerState(Cluster const& cluster, SlotFigures& figures, std::vector<std::size_t> slots);

  [[nodiscard]] Cluster const& cluster() const { return *cluster_; }
  [[nodiscard]] std::vector<std::size_t> const& slots() const { return slots_; }
  [[nodiscard]] std::size_t expert_at(std::size_t slot) const { return slots_[slot]; }
  [[nodiscard]] std::span<std::size_t const> experts_on(std::size_t rank) const {
    return std::span(slots_).subspan(cluster_->first_slot[rank],
                                     cluster_->first_slot[rank + 1] - cluster_->first_slot[rank]);
  }
  /// The slots that hold an expert, ascending.
  [[nodiscard]] std::span<std::size_t const> slots_of(std::size_t expert) const { return slots_of_[expert]; }
  [[nodiscard]] std::size_t replicas(std::size_t expert) const { return slots_of_[expert].size(); }
  [[nodiscard]] std::size_t replicas_on(std::size_t rank, std::size_t expert) const {
    return on_rank_[rank * cluster_->num_experts + expert];
  }
  [[nodiscard]] bool holds(std::size_t rank, std::size_t expert) const { return replicas_on(rank, expert) > 0; }
  /// What one slot of `expert` adds to its rank now; 0 for kNone.
  [[nodiscard]] double share(std::size_t expert) const { return expert == kNone ? 0 : share_[expert]; }
  [[nodiscard]] double figure_with(std::size_t expert, std::size_t replicas) const {
    return figures_->at(expert, replicas);
  }
  /// The figure of a rank before division by its speed, and after.
  [[nodiscard]] double sum(std::size_t rank) const { return sum_[rank]; }
  [[nodiscard]] double value(std::size_t rank) const { return sum_[rank] / cluster_->speed[rank]; }
  /// @return the rank of the largest value among Cluster::live, the lowest on a tie.
  [[nodiscard]] std::size_t hottest() const;
  /// The layer's figure, as measure_objective() gives it: a rank without slots may be above the hottest of those that
  /// have some.
  [[nodiscard]] double max_value() const { return std::max(value(hottest()), cluster_->idle_value); }

  /// Whether `expert` may get a replica on `rank`: none is there and node limits hold. @param leaving a rank that gives
  /// up a replica of the same expert at the same time, or kNone. @param replaced the expert it takes the place of.
  [[nodiscard]] bool may_join(std::size_t expert, std::size_t rank, std::size_t leaving, std::size_t replaced) const;
  /// Whether the contents of two slots of different ranks may be exchanged.
  [[nodiscard]] bool may_swap(std::size_t slot_a, std::size_t slot_b) const;

  /// Puts `expert` into a slot without bringing figures up to date: for building a state replica by replica.
  void place(std::size_t slot, std::size_t expert) { put(slot, expert); }
  void swap(std::size_t slot_a, std::size_t slot_b);
  /// Gives a slot to `expert` (or kNone): replica counts change.
  void retarget(std::size_t slot, std::size_t expert);

 private:
  void put(std::size_t slot, std::size_t expert);
  void refresh(std::size_t rank);
  void refresh_holders(std::size_t expert);
  [[nodiscard]] bool within_node_limits(std::size_t expert, std::size_t rank, std::size_t leaving,
                                        std::size_t replaced) const;

  Cluster const* cluster_;
  SlotFigures* figures_;
  std::vector<std::size_t> slots_;
  std::vector<std::vector<std::size_t>> slots_of_;  // [experts] ascending
  std::vector<std::uint16_t> on_rank_;              // [ranks * experts] replicas there
  std::vector<double> share_;                       // [experts]
  std::vector<double> sum_;                         // [ranks]
  std::vector<std::uint32_t> expert_on_node_{};     // [experts * nodes] replicas, with node limits only
  std::vector<std::uint32_t> group_on_node_{};      // [groups * nodes]
};

}  // namespace switchyard::placement
