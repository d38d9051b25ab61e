// SPDX-License-Identifier: Apache-2.0
/// DeepSeek's EPLB, float32 operation by float32 operation.
///
/// Three greedy steps per layer: expert groups are packed onto nodes, every node replicates its heaviest experts into
/// its spare slots, and the replicas of a node are packed onto its ranks. In between, experts are renumbered node by
/// node ("node order"); in global mode there is one node with one group and the order is the identity.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "policy_request.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/policy.hpp"

namespace switchyard {

namespace {

/// Where every item of a packing went: the pack, and how many items the pack had before.
struct Packing {
  std::vector<std::size_t> pack;
  std::vector<std::size_t> position;
};

/// The slots that replication makes, in order of creation.
struct Replication {
  std::vector<std::size_t> expert;   // [slots]
  std::vector<std::size_t> replica;  // [slots] number of the expert's slots made before
  std::vector<std::int64_t> count;   // [experts]
};

/// Sizes of one layer's problem.
struct Shape {
  std::size_t experts;
  std::size_t slots;
  std::size_t ranks;
  std::size_t nodes;
  std::size_t groups;
};

/// One layer's result: the expert of every slot and which of its replicas the slot is.
struct PlacedLayer {
  std::vector<std::size_t> expert;
  std::vector<std::size_t> replica;
};

/// Sum in the order of PyTorch's 256-bit kernel: four chains of eight lanes, then lanes ascending. The order matters
/// only where a sum passes 2^24 tokens.
float group_sum(std::span<float const> values) {
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

/// Items by falling weight; equal weights keep their order.
std::vector<std::size_t> falling_order(std::span<float const> weights) {
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  return order;
}

/// Equally many items per pack, heaviest first into the lightest pack with room; the lowest such pack on a tie. With
/// one item per pack the original does not sort: item i goes to pack i.
Packing pack_evenly(std::span<float const> weights, std::size_t num_packs) {
  std::size_t const room = weights.size() / num_packs;
  Packing packing{std::vector<std::size_t>(weights.size(), 0), std::vector<std::size_t>(weights.size(), 0)};
  if (room == 1) {
    std::iota(packing.pack.begin(), packing.pack.end(), std::size_t{0});
    return packing;
  }
  std::vector<float> load(num_packs, 0.0F);
  std::vector<std::size_t> filled(num_packs, 0);
  for (std::size_t const item : falling_order(weights)) {
    std::size_t best = num_packs;
    for (std::size_t pack = 0; pack < num_packs; ++pack) {
      if (filled[pack] < room && (best == num_packs || load[pack] < load[best])) {
        best = pack;
      }
    }
    packing.pack[item] = best;
    packing.position[item] = filled[best]++;
    load[best] += weights[item];
  }
  return packing;
}

/// One slot per expert, then each further slot to the expert with the highest load per replica, the lowest on a tie.
Replication replicate(std::span<float const> weights, std::size_t num_slots) {
  Replication made{std::vector<std::size_t>(weights.size()), std::vector<std::size_t>(weights.size(), 0),
                   std::vector<std::int64_t>(weights.size(), 1)};
  std::iota(made.expert.begin(), made.expert.end(), std::size_t{0});
  std::vector<float> load_per_replica(weights.begin(), weights.end());
  while (made.expert.size() < num_slots) {
    auto const highest = std::max_element(load_per_replica.begin(), load_per_replica.end());
    auto const expert = static_cast<std::size_t>(highest - load_per_replica.begin());
    made.expert.push_back(expert);
    made.replica.push_back(to_size(made.count[expert]++));
    *highest = weights[expert] / static_cast<float>(made.count[expert]);
  }
  return made;
}

/// @return the expert at every position of the node order.
std::vector<std::size_t> order_by_node(std::span<float const> weights, Shape const& shape) {
  std::size_t const group_size = shape.experts / shape.groups;
  std::vector<float> group_weights(shape.groups);
  for (std::size_t group = 0; group < shape.groups; ++group) {
    group_weights[group] = group_sum(weights.subspan(group * group_size, group_size));
  }
  Packing const packing = pack_evenly(group_weights, shape.nodes);
  std::vector<std::size_t> order(shape.experts);
  for (std::size_t expert = 0; expert < shape.experts; ++expert) {
    std::size_t const group = expert / group_size;
    std::size_t const place = packing.pack[group] * (shape.groups / shape.nodes) + packing.position[group];
    order[place * group_size + expert % group_size] = expert;
  }
  return order;
}

/// Fills the slots of one node. @param experts the node's experts, in node order.
void place_node(std::span<float const> weights, std::span<std::size_t const> experts, Shape const& shape,
                std::size_t first_slot, PlacedLayer& placed) {
  std::vector<float> node_weights;
  for (std::size_t const expert : experts) {
    node_weights.push_back(weights[expert]);
  }
  std::size_t const slots_per_rank = shape.slots / shape.ranks;
  Replication const made = replicate(node_weights, shape.slots / shape.nodes);
  std::vector<float> slot_weights;
  for (std::size_t const expert : made.expert) {
    slot_weights.push_back(node_weights[expert] / static_cast<float>(made.count[expert]));
  }
  Packing const packing = pack_evenly(slot_weights, shape.ranks / shape.nodes);
  for (std::size_t i = 0; i < made.expert.size(); ++i) {
    std::size_t const slot = first_slot + packing.pack[i] * slots_per_rank + packing.position[i];
    placed.expert[slot] = experts[made.expert[i]];
    placed.replica[slot] = made.replica[i];
  }
}

PlacedLayer place_layer(std::span<float const> weights, Shape const& shape) {
  PlacedLayer placed{std::vector<std::size_t>(shape.slots), std::vector<std::size_t>(shape.slots)};
  auto const order = order_by_node(weights, shape);
  std::size_t const experts_per_node = shape.experts / shape.nodes;
  for (std::size_t node = 0; node < shape.nodes; ++node) {
    place_node(weights, std::span(order).subspan(node * experts_per_node, experts_per_node), shape,
               node * (shape.slots / shape.nodes), placed);
  }
  return placed;
}

/// log2phy of one layer: the column is the replica's number, so the order of creation.
std::vector<std::vector<SlotId>> replica_slots_of(PlacedLayer const& placed, std::size_t num_experts) {
  std::vector<std::vector<SlotId>> slots(num_experts);
  for (std::size_t slot = 0; slot < placed.expert.size(); ++slot) {
    auto& columns = slots[placed.expert[slot]];
    columns.resize(std::max(columns.size(), placed.replica[slot] + 1));
    columns[placed.replica[slot]] = SlotId(static_cast<std::int32_t>(slot));
  }
  return slots;
}

std::vector<float> float32_loads(std::span<double const> loads, int layer) {
  std::vector<float> narrow;
  narrow.reserve(loads.size());
  for (double const load : loads) {
    SWITCHYARD_REQUIRE(
        load <= static_cast<double>(std::numeric_limits<float>::max()), invalid_argument,
        "load {} of expert {} in layer {} does not fit float32, in which DeepSeek's policy computes: scale "
        "the loads down",
        load, narrow.size(), layer);
    narrow.push_back(static_cast<float>(load));
  }
  return narrow;
}

Shape checked_shape(ExpertLoad const& load, PolicyRequest const& request, bool hierarchical) {
  placement::require_basic_request(request, load.num_experts());
  placement::require_even_slots(request, load.num_experts());
  if (hierarchical) {
    placement::require_hierarchy(request, load.num_experts());
  }
  return {to_size(load.num_experts()), to_size(request.num_slots), to_size(request.num_ranks),
          hierarchical ? to_size(request.num_nodes) : 1, hierarchical ? to_size(request.num_groups) : 1};
}

}  // namespace

DeepSeekResult deepseek_rebalance(ExpertLoad const& load, PolicyRequest const& request, bool hierarchical) {
  Shape const shape = checked_shape(load, request, hierarchical);
  ExpertLoad const sums = load.summed();
  std::vector<ExpertId> slot_to_expert;
  std::vector<std::vector<std::vector<SlotId>>> replica_slots;
  for (int layer = 0; layer < sums.num_layers(); ++layer) {
    PlacedLayer const placed = place_layer(float32_loads(sums.at(0, layer), layer), shape);
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
