// SPDX-License-Identifier: Apache-2.0
/// DeepSeek's EPLB, float32 operation by float32 operation.
#include <array>

#include "hierarchical.hpp"

namespace switchyard {

namespace {

struct Float32 {
  using Share = float;
  using Sum = float;

  static float share(float load, std::int64_t replicas) { return load / static_cast<float>(replicas); }

  /// Sum in the order of PyTorch's 256-bit kernel: four chains of eight lanes, then lanes ascending. The order matters
  /// only where a sum passes 2^24 tokens.
  static float group_sum(std::span<float const> values) {
    constexpr std::size_t kLanes = 8;
    constexpr std::size_t kChains = 4;
    std::array<std::array<float, kLanes>, kChains> chains{};
    std::size_t const vectors = values.size() / kLanes;
    std::size_t const in_chains = vectors / kChains * kChains;
    for (std::size_t i = 0; i < vectors * kLanes; ++i) {
      std::size_t const vector = i / kLanes;
      chains[vector < in_chains ? vector % kChains : 0][i % kLanes] += values[i];
    }
    for (std::size_t chain = 1; chain < kChains; ++chain) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        chains[0][lane] += chains[chain][lane];
      }
    }
    auto const add = [](float a, float b) { return a + b; };
    float const tail =
        std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(vectors * kLanes), values.end(), 0.0F, add);
    return std::accumulate(chains[0].begin(), chains[0].end(), tail, add);
  }
};

/// log2phy of one layer: the column is the replica's number, so the order of creation.
std::vector<std::vector<SlotId>> replica_slots_of(placement::PlacedLayer const& placed, std::size_t num_experts) {
  std::vector<std::vector<SlotId>> slots(num_experts);
  for (std::size_t slot = 0; slot < placed.expert.size(); ++slot) {
    auto& columns = slots[placed.expert[slot]];
    columns.resize(std::max(columns.size(), placed.replica[slot] + 1));
    columns[placed.replica[slot]] = SlotId(static_cast<std::int32_t>(slot));
  }
  return slots;
}

}  // namespace

DeepSeekResult deepseek_rebalance(ExpertLoad const& load, PolicyRequest const& request, bool hierarchical) {
  auto const shape = placement::checked_shape(load, request, hierarchical);
  ExpertLoad const sums = load.summed();
  std::vector<ExpertId> slot_to_expert;
  std::vector<std::vector<std::vector<SlotId>>> replica_slots;
  for (int layer = 0; layer < sums.num_layers(); ++layer) {
    auto const weights = placement::float32_loads(sums.at(0, layer), layer);
    auto const placed = placement::place_hierarchically<Float32>(weights, shape);
    for (std::size_t const expert : placed.expert) {
      slot_to_expert.emplace_back(static_cast<std::int32_t>(expert));
    }
    replica_slots.push_back(replica_slots_of(placed, shape.experts));
  }
  auto layout = SlotLayout::uniform(request.num_ranks, request.num_slots / request.num_ranks);
  return {ExpertPlacement(sums.num_layers(), sums.num_experts(), std::move(layout), std::move(slot_to_expert)),
          std::move(replica_slots)};
}

}  // namespace switchyard
