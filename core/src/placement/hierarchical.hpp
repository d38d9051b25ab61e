// SPDX-License-Identifier: Apache-2.0
/// The three greedy steps that DeepSeek's EPLB and its descendants share, over the arithmetic of each.
///
/// Expert groups are packed onto nodes, every node replicates its heaviest experts into its spare slots, and the
/// replicas of a node are packed onto its ranks. In between, experts are renumbered node by node ("node order"); in
/// global mode there is one node with one group and the order is the identity.
///
/// An Arithmetic has: Share, the type of a load per replica; Sum, the type in which a pack adds up; share(load,
/// replicas); group_sum(loads).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/policy.hpp"

namespace switchyard::placement {

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
struct LayerShape {
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

/// @return the sizes of one layer, one node and one group unless `hierarchical`.
/// @throws Error{invalid_argument} when the request breaks a rule of these policies.
[[nodiscard]] LayerShape checked_shape(ExpertLoad const& load, PolicyRequest const& request, bool hierarchical);

/// @return the loads of one layer in float32. @throws Error{invalid_argument} for a load beyond float32.
[[nodiscard]] std::vector<float> float32_loads(std::span<double const> loads, int layer);

/// Items by falling weight; equal weights keep their order.
template <typename Weight>
std::vector<std::size_t> falling_order(std::span<Weight const> weights) {
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  return order;
}

/// Equally many items per pack, heaviest first into the lightest pack with room; the lowest such pack on a tie.
template <typename Sum, typename Weight>
Packing pack_sorted(std::span<Weight const> weights, std::size_t num_packs) {
  std::size_t const room = weights.size() / num_packs;
  Packing packing{std::vector<std::size_t>(weights.size(), 0), std::vector<std::size_t>(weights.size(), 0)};
  std::vector<Sum> load(num_packs, Sum{});
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

/// pack_sorted; but with one item per pack the originals do not sort: item i goes to pack i.
template <typename Sum, typename Weight>
Packing pack_evenly(std::span<Weight const> weights, std::size_t num_packs) {
  if (weights.size() != num_packs) {
    return pack_sorted<Sum>(weights, num_packs);
  }
  Packing packing{std::vector<std::size_t>(weights.size()), std::vector<std::size_t>(weights.size(), 0)};
  std::iota(packing.pack.begin(), packing.pack.end(), std::size_t{0});
  return packing;
}

/// One slot per expert, then each further slot to the expert with the highest load per replica, the lowest on a tie.
template <typename Arithmetic>
Replication replicate(std::span<float const> weights, std::size_t num_slots) {
  Replication made{std::vector<std::size_t>(weights.size()), std::vector<std::size_t>(weights.size(), 0),
                   std::vector<std::int64_t>(weights.size(), 1)};
  std::iota(made.expert.begin(), made.expert.end(), std::size_t{0});
  std::vector<typename Arithmetic::Share> load_per_replica(weights.begin(), weights.end());
  while (made.expert.size() < num_slots) {
    auto const highest = std::max_element(load_per_replica.begin(), load_per_replica.end());
    auto const expert = static_cast<std::size_t>(highest - load_per_replica.begin());
    made.expert.push_back(expert);
    made.replica.push_back(to_size(made.count[expert]++));
    *highest = Arithmetic::share(weights[expert], made.count[expert]);
  }
  return made;
}

/// @return the expert at every position of the node order that a packing of groups onto nodes makes.
[[nodiscard]] std::vector<std::size_t> node_order(Packing const& groups_on_nodes, LayerShape const& shape);

/// @return the expert at every position of the node order.
template <typename Arithmetic>
std::vector<std::size_t> order_by_node(std::span<float const> weights, LayerShape const& shape) {
  std::size_t const group_size = shape.experts / shape.groups;
  std::vector<float> group_weights(shape.groups);
  for (std::size_t group = 0; group < shape.groups; ++group) {
    group_weights[group] = Arithmetic::group_sum(weights.subspan(group * group_size, group_size));
  }
  std::span<float const> const view(group_weights);
  return node_order(pack_evenly<typename Arithmetic::Sum>(view, shape.nodes), shape);
}

/// Fills the slots of one node. @param experts the node's experts, in node order.
template <typename Arithmetic>
void place_node(std::span<float const> weights, std::span<std::size_t const> experts, LayerShape const& shape,
                std::size_t first_slot, PlacedLayer& placed) {
  std::vector<float> node_weights;
  for (std::size_t const expert : experts) {
    node_weights.push_back(weights[expert]);
  }
  std::size_t const slots_per_rank = shape.slots / shape.ranks;
  Replication const made = replicate<Arithmetic>(node_weights, shape.slots / shape.nodes);
  std::vector<typename Arithmetic::Share> slot_weights;
  for (std::size_t const expert : made.expert) {
    slot_weights.push_back(Arithmetic::share(node_weights[expert], made.count[expert]));
  }
  std::span<typename Arithmetic::Share const> const view(slot_weights);
  Packing const packing = pack_evenly<typename Arithmetic::Sum>(view, shape.ranks / shape.nodes);
  for (std::size_t i = 0; i < made.expert.size(); ++i) {
    std::size_t const slot = first_slot + packing.pack[i] * slots_per_rank + packing.position[i];
    placed.expert[slot] = experts[made.expert[i]];
    placed.replica[slot] = made.replica[i];
  }
}

template <typename Arithmetic>
PlacedLayer place_hierarchically(std::span<float const> weights, LayerShape const& shape) {
  PlacedLayer placed{std::vector<std::size_t>(shape.slots), std::vector<std::size_t>(shape.slots)};
  auto const order = order_by_node<Arithmetic>(weights, shape);
  std::size_t const experts_per_node = shape.experts / shape.nodes;
  for (std::size_t node = 0; node < shape.nodes; ++node) {
    place_node<Arithmetic>(weights, std::span(order).subspan(node * experts_per_node, experts_per_node), shape,
                           node * (shape.slots / shape.nodes), placed);
  }
  return placed;
}

}  // namespace switchyard::placement
