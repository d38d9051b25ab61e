// SPDX-License-Identifier: Apache-2.0
#include "slot_figures.hpp"

#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/objective.hpp"

namespace switchyard::placement {

SlotFigures::SlotFigures(PlacementObjective const& objective, ExpertLoad const& load, int layer,
                         std::size_t max_replicas)
    : objective_(objective),
      load_(&load),
      layer_(layer),
      max_replicas_(max_replicas),
      figures_(to_size(load.num_experts())) {}

double SlotFigures::computed(std::size_t expert, std::size_t replicas) {
  auto& known = figures_[expert];
  ExpertId const id(static_cast<std::int32_t>(expert));
  while (known.size() < replicas) {
    known.push_back(slot_figure(objective_, *load_, layer_, id, static_cast<int>(known.size()) + 1));
  }
  return known[replicas - 1];
}

}  // namespace switchyard::placement
