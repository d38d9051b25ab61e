// SPDX-License-Identifier: Apache-2.0
#include "hierarchical.hpp"

#include <limits>

#include "policy_request.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::placement {

LayerShape checked_shape(ExpertLoad const& load, PolicyRequest const& request, bool hierarchical) {
  require_basic_request(request, load.num_experts());
  require_even_slots(request, load.num_experts());
  if (hierarchical) {
    require_hierarchy(request, load.num_experts());
  }
  return {to_size(load.num_experts()), to_size(request.num_slots), to_size(request.num_ranks),
          hierarchical ? to_size(request.num_nodes) : 1, hierarchical ? to_size(request.num_groups) : 1};
}

std::vector<float> float32_loads(std::span<double const> loads, int layer) {
  std::vector<float> narrow;
  narrow.reserve(loads.size());
  for (double const load : loads) {
    SWITCHYARD_REQUIRE(load <= static_cast<double>(std::numeric_limits<float>::max()), invalid_argument,
                       "load {} of expert {} in layer {} does not fit float32, in which this policy computes: scale "
                       "the loads down",
                       load, narrow.size(), layer);
    narrow.push_back(static_cast<float>(load));
  }
  return narrow;
}

std::vector<std::size_t> node_order(Packing const& groups_on_nodes, LayerShape const& shape) {
  std::size_t const group_size = shape.experts / shape.groups;
  std::vector<std::size_t> order(shape.experts);
  for (std::size_t expert = 0; expert < shape.experts; ++expert) {
    std::size_t const group = expert / group_size;
    std::size_t const place =
        groups_on_nodes.pack[group] * (shape.groups / shape.nodes) + groups_on_nodes.position[group];
    order[place * group_size + expert % group_size] = expert;
  }
  return order;
}

}  // namespace switchyard::placement
