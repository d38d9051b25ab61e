// SPDX-License-Identifier: Apache-2.0
/// Workloads W0 to W7: named routings whose imbalance is known, from (workload, shape, seed, step) alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/sim/routing_generator.hpp"

namespace switchyard::sim {

/// Named after the list in Megatron-Core's proposal of imbalance benchmarks (PR #7488); the amounts are ours. A rank's
/// block is the experts it holds when they are dealt contiguously; "hot" is kHotFactor times as popular as the others.
enum class Workload : std::uint8_t {
  w0,  ///< balanced: experts take turns, counts differ by one at most
  w1,  ///< hot experts: one of 16 (at least one), drawn anywhere
  w2,  ///< hot rank: the block of one drawn rank
  w3,  ///< spread hot: one hot expert in every rank's block, so that experts are uneven and ranks are not
  w4,  ///< ragged sources: ranks hold 0 to 2 * tokens_per_rank tokens, rank 0 none
  w5,  ///< zero experts and ranks: the last rank has no tokens and its experts, and every fourth of the others, no rows
  w6,  ///< rotating: as many hot experts as in W1, side by side, and moving on by their number with every step
  w7,  ///< burst: balanced, but one of four drawn steps has kBurstTokens times the tokens, and hot experts as in W1
};
inline constexpr double kHotFactor = 16;
inline constexpr std::int64_t kBurstTokens = 4;

[[nodiscard]] std::string_view to_string(Workload workload) noexcept;
/// @return "W0" to "W7".
[[nodiscard]] std::vector<std::string> workload_names();
/// @throws Error{invalid_argument} for another name; the text lists the known ones.
[[nodiscard]] Workload parse_workload(std::string_view name);

/// @param step in [0, 2^28); W6 and W7 depend on it, and the tokens' draws of all of them.
/// @throws Error{invalid_argument} when the shape cannot carry the workload (W5: fewer experts left than top_k).
[[nodiscard]] RoutingSpec workload_spec(Workload workload, RoutingShape const& shape, std::uint64_t seed, int step);

}  // namespace switchyard::sim
