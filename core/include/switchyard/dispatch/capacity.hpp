// SPDX-License-Identifier: Apache-2.0
/// Capacity: how many tokens of one source rank an expert takes, and which ones.
#pragma once

#include <cstdint>
#include <optional>

#include "switchyard/dispatch/capacity_rule.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard {

enum class DropPolicy : std::uint8_t {
  probs,     ///< keep the largest probabilities
  position,  ///< keep the lowest token indices
};

/// How much an expert takes, which tokens it keeps, and whether missing ones are filled up. Without a factor (rule
/// exact: without a ratio) routing is dropless.
struct CapacityPolicy {
  std::optional<double> factor{};  ///< rules megatron and megablocks
  DropPolicy policy = DropPolicy::probs;
  bool pad_to_capacity = false;
  CapacityRule rule = CapacityRule::megatron;
  std::optional<CapacityRatio> ratio{};  ///< rule exact
  friend bool operator==(CapacityPolicy const&, CapacityPolicy const&) = default;
};

/// A routing map after dropping and padding, in dense form.
struct CapacityResult {
  RoutingMap routing;            ///< dense; with padding it holds filler choices of weight 0
  std::int64_t capacity = 0;     ///< per expert
  std::int64_t num_dropped = 0;  ///< choices removed
  std::int64_t num_fillers = 0;  ///< unselected (token, expert) pairs added by padding
};

/// Applies `policy` to one rank's routing. Ties: value descending, then token ascending (the peers leave them open).
/// @param top_k the K that capacity is computed from (a dense map has none of its own).
/// Rule megablocks counts as forward_once does (one rank, 0 = the largest count); its own policy is `position`.
/// @throws Error{invalid_argument} without a factor (or ratio), when padding needs more tokens than there are (capacity
/// >
///         tokens), or for padding with rule megablocks, whose fillers are zero rows.
[[nodiscard]] CapacityResult apply_capacity(RoutingMap const& routing, CapacityPolicy const& policy, int top_k);

}  // namespace switchyard
