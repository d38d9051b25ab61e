// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/capacity_padding.hpp"

#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

PaddedRouting pad_routing_map(RoutingMap const& routing, std::int64_t multiple) {
  SWITCHYARD_REQUIRE(multiple >= 1, invalid_argument, "padding a routing map to a multiple of {}: must be at least 1",
                     multiple);
  RoutingMap const dense = routing.to_dense();
  auto const experts = to_size(dense.num_experts());
  std::vector<std::uint8_t> map(dense.map().begin(), dense.map().end());
  std::vector<std::int64_t> wanted(experts, 0);
  for (std::size_t entry = 0; entry < map.size(); ++entry) wanted[entry % experts] += map[entry];
  for (auto& count : wanted) count = (multiple - count % multiple) % multiple;

  PaddedRouting result;
  for (std::size_t entry = 0; entry < map.size(); ++entry) {
    auto& want = wanted[entry % experts];
    if (map[entry] == 1 || want == 0) continue;
    map[entry] = 1;
    --want;
    ++result.num_fillers;
  }
  for (std::size_t expert = 0; expert < experts; ++expert)
    if (wanted[expert] > 0) result.not_multiple.emplace_back(static_cast<std::int32_t>(expert));
  result.routing = RoutingMap::from_dense(dense.num_tokens(), dense.num_experts(), std::move(map),
                                          {dense.weights().begin(), dense.weights().end()});
  return result;
}

}  // namespace switchyard
