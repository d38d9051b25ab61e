// SPDX-License-Identifier: Apache-2.0
/// SlotFigures: what a slot of an expert adds to its rank for every number of replicas, computed once.
#pragma once

#include <cstddef>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard::placement {

/// One layer's figures under an objective.
class SlotFigures {
 public:
  /// @param max_replicas figures are asked for 1 .. max_replicas only. The load must outlive this object.
  SlotFigures(PlacementObjective const& objective, ExpertLoad const& load, int layer, std::size_t max_replicas);

  /// @pre 1 <= replicas <= max_replicas.
  [[nodiscard]] double at(std::size_t expert, std::size_t replicas) {
    auto const& known = figures_[expert];
    return replicas <= known.size() ? known[replicas - 1] : computed(expert, replicas);
  }
  [[nodiscard]] std::size_t max_replicas() const { return max_replicas_; }
  [[nodiscard]] std::size_t num_experts() const { return figures_.size(); }

 private:
  double computed(std::size_t expert, std::size_t replicas);

  PlacementObjective objective_;
  ExpertLoad const* load_;
  int layer_;
  std::size_t max_replicas_;
  std::vector<std::vector<double>> figures_;  // [experts][replicas - 1], as far as they were asked for
};

}  // namespace switchyard::placement
