// SPDX-License-Identifier: Apache-2.0
/// What commands that take a routing recording share: tokens dealt to ranks, and where experts lie.
#pragma once

#include <vector>

#include "cli/options.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard::cli {

inline constexpr int kMaxRoutingRanks = 1 << 16;
inline constexpr int kMaxRoutingExperts = 1 << 20;

/// Tokens in file order, in blocks: the first T mod ranks ranks hold one more.
[[nodiscard]] std::vector<RoutingMap> deal_tokens(RoutingMap const& all, int ranks);

/// --placement, or experts in contiguous blocks.
[[nodiscard]] ExpertPlacement placement_of(ParsedOptions const& options, int num_experts, int ep, int layer);

}  // namespace switchyard::cli
