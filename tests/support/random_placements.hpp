// SPDX-License-Identifier: Apache-2.0
/// Random legal moves: a placement with replicas and empty slots, and another one that uses the same experts.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::test {

struct PlacementPair {
  ExpertPlacement before;
  ExpertPlacement after;
};

/// @return slots of `layers` layers, each an expert that `sources` holds in that layer, or empty with chance 1/8.
inline std::vector<ExpertId> draw_slots(CounterRng const& rng, int layers, int slots,
                                        std::vector<std::vector<ExpertId>> const& sources) {
  std::vector<ExpertId> drawn;
  std::uint64_t index = 0;
  for (int layer = 0; layer < layers; ++layer) {
    auto const& from = sources[static_cast<std::size_t>(layer)];
    for (int slot = 0; slot < slots; ++slot) {
      bool const empty = from.empty() || rng.below(index++, 8) == 0;
      drawn.push_back(empty ? kNoExpert : from[rng.below(index++, std::max<std::size_t>(from.size(), 1))]);
    }
  }
  return drawn;
}

/// Up to 4 layers, 6 ranks with 0 to 5 slots each, 9 experts. One seed, one pair.
inline PlacementPair draw_placements(std::uint64_t seed) {
  CounterRng const sizes(seed, 1);
  int const layers = 1 + static_cast<int>(sizes.below(0, 4));
  int const ranks = 1 + static_cast<int>(sizes.below(1, 6));
  int const experts = 1 + static_cast<int>(sizes.below(2, 9));
  std::vector<std::int32_t> per_rank;
  for (int r = 0; r < ranks; ++r)
    per_rank.push_back(static_cast<std::int32_t>(sizes.below(3 + static_cast<std::uint64_t>(r), 6)));
  SlotLayout const layout(per_rank);
  std::vector<ExpertId> all;
  for (int e = 0; e < experts; ++e) all.emplace_back(e);
  auto const old_slots =
      draw_slots(sizes.stream(2), layers, layout.num_slots(), std::vector(static_cast<std::size_t>(layers), all));
  std::vector<std::vector<ExpertId>> present(static_cast<std::size_t>(layers));
  for (std::size_t i = 0; i < old_slots.size(); ++i)
    if (old_slots[i].valid()) present[i / static_cast<std::size_t>(layout.num_slots())].push_back(old_slots[i]);
  auto const new_slots = draw_slots(sizes.stream(3), layers, layout.num_slots(), present);
  return {ExpertPlacement(layers, experts, layout, old_slots), ExpertPlacement(layers, experts, layout, new_slots)};
}

}  // namespace switchyard::test
