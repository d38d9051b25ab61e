// SPDX-License-Identifier: Apache-2.0
/// Generates routings: which experts every token of every rank chooses, and with which weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/routing/routing_map.hpp"

namespace switchyard::sim {

/// Same spec, same routing, on every machine and for any number of threads.
struct RoutingSpec {
  int top_k = 8;
  std::vector<std::int64_t> tokens_of_rank{};  ///< one count per rank, zero allowed
  /// Relative popularity, one per expert: 0 is never chosen, kAlwaysChosen always.
  std::vector<double> expert_weights{};
  double stickiness = 0;              ///< chance that a token keeps its predecessor's draw for an expert, [0, 1)
  std::int64_t request_tokens = 128;  ///< tokens of one request; stickiness ends at its border
  int num_domains = 1;                ///< kinds of requests (code, mathematics, chat, ...); every request draws one
  double domain_sigma = 0;            ///< log-normal tilt of an expert's popularity in a domain, [0, 5]
  /// Group-limited routing: experts lie in num_groups equal blocks, a token chooses among those of its top_groups
  /// blocks with the largest sums of two best scores (DeepSeek-V3: 8 and 4). 0 = no groups.
  int num_groups = 0;
  int top_groups = 0;
  bool even = false;  ///< experts take turns instead of racing, popularity 0 left out: counts differ by one at most
  std::uint64_t seed = 1;
};

inline constexpr double kAlwaysChosen = 1e200;

/// @throws Error{invalid_argument} naming the field and what to change.
void require_valid(RoutingSpec const& spec);

/// Draws top_k different experts per token by an exponential race (equal to Gumbel top-k): expert e finishes at
/// -log(u) / popularity, and the k fastest win, the fastest in slot 0 (ties: lower expert).
/// Weights are positive, descending in k, and normalised in fp32: the sum runs over slots ascending, then each is
/// divided by it.
/// With groups, the best two of a block race for it, ties to the lower block. With `even`, token g of all ranks
/// together takes the next top_k experts of the round that starts at a drawn one, with equal weights.
/// @return one map per rank, top-k form. @throws Error{invalid_argument} as require_valid.
/// @note pure; O(tokens * experts) logarithms.
[[nodiscard]] std::vector<RoutingMap> generate_routing(RoutingSpec const& spec);

/// Shapes of traffic that break dispatchers, beside ordinary ones. Ranks own experts in contiguous blocks.
enum class RoutingPreset : std::uint8_t {
  log_normal,  ///< sigma 1, the ordinary case
  uniform,     ///< all experts alike
  one_expert,  ///< the last expert is in every token's choice
  one_rank,    ///< all choices on the last rank's experts
  ragged,      ///< ranks hold different numbers of tokens, rank 0 none
  empty_rank,  ///< the last rank holds no token
};
[[nodiscard]] std::string_view to_string(RoutingPreset preset) noexcept;
/// @return the names of all presets.
[[nodiscard]] std::vector<std::string> routing_preset_names();
/// @throws Error{invalid_argument} for another name; the text lists the known ones.
[[nodiscard]] RoutingPreset parse_routing_preset(std::string_view name);

/// The sizes a preset is filled in with.
struct RoutingShape {
  int num_ranks = 8;
  int num_experts = 64;
  int top_k = 8;
  std::int64_t tokens_per_rank = 64;
};

/// @throws Error{invalid_argument} when the shape cannot carry the preset (one_rank: top_k above the experts per rank).
[[nodiscard]] RoutingSpec routing_preset(RoutingPreset preset, RoutingShape const& shape, std::uint64_t seed);

}  // namespace switchyard::sim
