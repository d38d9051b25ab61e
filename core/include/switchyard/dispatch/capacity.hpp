// SPDX-License-Identifier: Apache-2.0
/// Capacity: how many tokens of one source rank an expert takes, and which ones.
#pragma once

#include <cstdint>
#include <optional>

#include "switchyard/routing/routing_map.hpp"

namespace switchyard {

enum class DropPolicy : std::uint8_t {
  probs,     ///< keep the largest probabilities
  position,  ///< keep the lowest token indices
};

/// Megatron's capacity rules. Without a factor routing is dropless.
struct CapacityPolicy {
  std::optional<double> factor{};
  DropPolicy policy = DropPolicy::probs;
  bool pad_to_capacity = false;
  friend bool operator==(CapacityPolicy const&, CapacityPolicy const&) = default;
};

/// Megatron's capacity per (source rank, expert): ceil((choices / experts) * factor) in IEEE double, division first.
/// @param num_choices tokens times top_k. @throws Error{invalid_argument} for experts < 1, negative choices, or a
/// factor that is
///        negative or not finite. Source: Megatron-Core moe_utils.get_capacity; this is not the exact rational ceiling
///        (100 choices, 2 experts, 1.1 give 56).
[[nodiscard]] std::int64_t megatron_capacity(std::int64_t num_choices, int num_experts, double factor);

/// A routing map after dropping and padding, in dense form.
struct CapacityResult {
  RoutingMap routing;            ///< dense; with padding it holds filler choices of weight 0
  std::int64_t capacity = 0;     ///< per expert
  std::int64_t num_dropped = 0;  ///< choices removed
  std::int64_t num_fillers = 0;  ///< unselected (token, expert) pairs added by padding
};

/// Applies `policy` to one rank's routing. Ties: value descending, then token ascending (the peers leave them open).
/// @param top_k the K that capacity is computed from (a dense map has none of its own).
/// @throws Error{invalid_argument} without a factor, or when padding needs more tokens than there are (capacity >
/// tokens).
[[nodiscard]] CapacityResult apply_capacity(RoutingMap const& routing, CapacityPolicy const& policy, int top_k);

}  // namespace switchyard
