// SPDX-License-Identifier: Apache-2.0
/// The setting of the dispatch benchmarks: 8 ranks, 256 experts, top-8, uniform routing, as a plan of every family.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace dispatch_bench {

constexpr int kRanks = 8;
constexpr int kExperts = 256;
constexpr int kTopK = 8;

constexpr switchyard::DispatchFamily kFamilies[] = {
    switchyard::DispatchFamily::megatron_alltoall, switchyard::DispatchFamily::megatron_allgather,
    switchyard::DispatchFamily::megatron_flex, switchyard::DispatchFamily::megablocks};

inline std::int64_t from_environment(char const* name, std::int64_t otherwise) {
  char const* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread starts
  return text != nullptr ? std::atoll(text) : otherwise;
}

/// Uniform routing without repeated experts: a random start and an odd stride.
inline switchyard::RoutingMap uniform_routing(int rank, std::int64_t tokens) {
  switchyard::CounterRng const rng(1, static_cast<std::uint64_t>(rank));
  std::vector<std::int32_t> ids;
  for (std::int64_t token = 0; token < tokens; ++token) {
    auto const start = rng.below(static_cast<std::uint64_t>(2 * token), kExperts);
    auto const stride = 2 * rng.below(static_cast<std::uint64_t>(2 * token + 1), kExperts / 2) + 1;
    for (std::uint64_t k = 0; k < kTopK; ++k)
      ids.push_back(static_cast<std::int32_t>((start + k * stride) % static_cast<std::uint64_t>(kExperts)));
  }
  std::vector<float> weights(ids.size(), 1.0F / kTopK);
  return switchyard::RoutingMap::from_topk(tokens, kExperts, kTopK, std::move(ids), std::move(weights));
}

/// The configurations that share the grid of 8 EP ranks.
template <typename Config>
Config config_of_grid() {
  Config config;
  config.grid = {1, kRanks};
  return config;
}
/// Megatron-Core's dropless form of MegaBlocks: rows of experts follow each other.
inline switchyard::MegaBlocksConfig megablocks_config() {
  switchyard::MegaBlocksConfig config;
  config.world = kRanks;
  config.bins = switchyard::ExpertBins::exact;
  return config;
}

struct Setting {
  switchyard::ExpertPlacement placement = switchyard::ExpertPlacement::contiguous(1, kExperts, kRanks);
  std::vector<switchyard::RoutingMap> routings;

  explicit Setting(std::int64_t tokens) {
    for (int rank = 0; rank < kRanks; ++rank) routings.push_back(uniform_routing(rank, tokens));
  }

  [[nodiscard]] std::vector<switchyard::DispatchPlan> plans(switchyard::DispatchFamily family) const {
    using namespace switchyard;
    switch (family) {
      case DispatchFamily::megatron_alltoall:
        return plan_alltoall_group(config_of_grid<AllToAllConfig>(), routings, placement, 0);
      case DispatchFamily::megatron_allgather:
        return plan_allgather_group(config_of_grid<AllGatherConfig>(), routings, placement, 0);
      case DispatchFamily::megatron_flex: return plan_flex_group(config_of_grid<FlexConfig>(), routings, placement, 0);
      case DispatchFamily::megablocks: break;
    }
    return plan_megablocks_group(megablocks_config(), routings, placement, 0);
  }
};

}  // namespace dispatch_bench
