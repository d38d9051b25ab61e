// SPDX-License-Identifier: Apache-2.0
/// The example of reference section 1.6 (T=2, K=2, E=4, EP=2, TP=2) as a plan of every family.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"

namespace support {

using Ints = std::vector<std::int64_t>;
using Plans = std::vector<switchyard::DispatchPlan>;

inline switchyard::RoutingMap two_tokens(std::vector<std::int32_t> ids) {
  return switchyard::RoutingMap::from_topk(2, 4, 2, std::move(ids), {0.5F, 0.25F, 0.125F, 0.75F});
}

inline std::vector<switchyard::RoutingMap> worked_routing() {
  return {two_tokens({0, 2, 2, 3}), two_tokens({0, 3, 0, 1}), two_tokens({0, 2, 0, 1}), two_tokens({0, 1, 0, 3})};
}

inline switchyard::ExpertPlacement worked_placement() {
  return switchyard::ExpertPlacement::contiguous(1, 4, 2);
}

inline Plans allgather_example() {
  switchyard::AllGatherConfig config;
  config.grid = {2, 2};
  return switchyard::plan_allgather_group(config, worked_routing(), worked_placement(), 0);
}

inline Plans flex_example(switchyard::FlexConfig config = {}) {
  config.grid = {2, 2};
  return switchyard::plan_flex_group(config, worked_routing(), worked_placement(), 0);
}

/// Four ranks, experts 0 1 | 2 3 on two blocks with two hidden shards each.
inline Plans megablocks_example(switchyard::ExpertBins bins) {
  switchyard::MegaBlocksConfig config;
  config.world = 4;
  config.bins = bins;
  config.block_rows = 4;
  return switchyard::plan_megablocks_group(config, worked_routing(), worked_placement(), 0);
}

/// One of every family, with the example's routing.
inline std::vector<Plans> examples() {
  return {allgather_example(), flex_example(), megablocks_example(switchyard::ExpertBins::exact),
          megablocks_example(switchyard::ExpertBins::capacity), megablocks_example(switchyard::ExpertBins::blocks)};
}

}  // namespace support
