// SPDX-License-Identifier: Apache-2.0
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "generators/draw.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/sim/load_generator.hpp"
#include "switchyard/sim/routing_generator.hpp"

namespace switchyard::sim {
namespace {

constexpr std::array<std::string_view, 6> kNames{"log-normal", "uniform", "one-expert",
                                                 "one-rank",   "ragged",  "empty-rank"};

std::vector<double> log_normal_weights(RoutingShape const& shape, std::uint64_t seed) {
  LoadSpec spec;
  spec.num_layers = 1;
  spec.num_experts = shape.num_experts;
  spec.top_k = shape.top_k;
  spec.sigma = {{0.0, 1.0}};
  spec.seed = seed;
  return expert_popularity(spec, 0, 0);
}

/// Everything but the last rank's block is out of reach; a remainder rank holds experts / ranks of them.
std::vector<double> last_rank_weights(RoutingShape const& shape) {
  int const block = shape.num_experts / shape.num_ranks;
  SWITCHYARD_REQUIRE(shape.top_k <= block, invalid_argument,
                     "one-rank traffic with top_k {}: the last of {} ranks holds only {} of {} experts; lower top_k",
                     shape.top_k, shape.num_ranks, block, shape.num_experts);
  std::vector<double> weights(static_cast<std::size_t>(shape.num_experts), 0.0);
  std::fill(weights.end() - block, weights.end(), 1.0);
  return weights;
}

std::vector<double> weights_of(RoutingPreset preset, RoutingShape const& shape, std::uint64_t seed) {
  if (preset == RoutingPreset::one_rank) return last_rank_weights(shape);
  if (preset == RoutingPreset::log_normal) return log_normal_weights(shape, seed);
  std::vector<double> weights(static_cast<std::size_t>(shape.num_experts), 1.0);
  if (preset == RoutingPreset::one_expert) weights.back() = kAlwaysChosen;
  return weights;
}

std::vector<std::int64_t> ragged_tokens(RoutingShape const& shape, std::uint64_t seed) {
  CounterRng const rng = stream_of(seed, Purpose::ragged, 0, 0);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(shape.num_ranks), 0);
  auto const bound = static_cast<std::uint64_t>(2 * shape.tokens_per_rank + 1);
  for (std::size_t rank = 1; rank < tokens.size(); ++rank)
    tokens[rank] = static_cast<std::int64_t>(rng.below(rank, bound));
  return tokens;
}

}  // namespace

std::string_view to_string(RoutingPreset preset) noexcept {
  return kNames[static_cast<std::size_t>(preset)];
}

std::vector<std::string> routing_preset_names() {
  return {kNames.begin(), kNames.end()};
}

RoutingPreset parse_routing_preset(std::string_view name) {
  auto const found = std::find(kNames.begin(), kNames.end(), name);
  SWITCHYARD_REQUIRE(found != kNames.end(), invalid_argument, "unknown routing preset '{}': known are {}", name,
                     fmt::join(kNames, ", "));
  return static_cast<RoutingPreset>(found - kNames.begin());
}

RoutingSpec routing_preset(RoutingPreset preset, RoutingShape const& shape, std::uint64_t seed) {
  SWITCHYARD_REQUIRE(shape.num_ranks >= 1 && shape.num_experts >= 1 && shape.tokens_per_rank >= 0, invalid_argument,
                     "{} ranks, {} experts, {} tokens per rank: give at least one rank and expert", shape.num_ranks,
                     shape.num_experts, shape.tokens_per_rank);
  RoutingSpec spec;
  spec.top_k = shape.top_k;
  spec.seed = seed;
  spec.expert_weights = weights_of(preset, shape, seed);
  spec.tokens_of_rank.assign(static_cast<std::size_t>(shape.num_ranks), shape.tokens_per_rank);
  if (preset == RoutingPreset::ragged) spec.tokens_of_rank = ragged_tokens(shape, seed);
  if (preset == RoutingPreset::empty_rank) spec.tokens_of_rank.back() = 0;
  require_valid(spec);
  return spec;
}

}  // namespace switchyard::sim
