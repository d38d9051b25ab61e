// SPDX-License-Identifier: Apache-2.0
/// Padding a routing map so that every expert's row count is a multiple of what a quantised GEMM needs.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/routing/routing_map.hpp"

namespace switchyard {

struct PaddedRouting {
  RoutingMap routing;                  ///< dense; fillers are choices of weight 0
  std::int64_t num_fillers = 0;        ///< unselected (token, expert) pairs that were added
  std::vector<ExpertId> not_multiple;  ///< experts for which the rank holds too few tokens: they take all of them
};

/// Adds to every expert the lowest tokens that did not choose it until its count is a multiple of `multiple` (16 for
/// fp8, 32 for mxfp8, 128 for nvfp4). An expert without rows stays without. `routing` is not changed, unlike the
/// unfused pad_routing_map of Megatron-Core, which writes through its argument; integers and ties are the same.
/// @throws Error{invalid_argument} for multiple < 1, or a token that names an expert twice. Pure; O(tokens * experts).
[[nodiscard]] PaddedRouting pad_routing_map(RoutingMap const& routing, std::int64_t multiple);

}  // namespace switchyard
