// SPDX-License-Identifier: Apache-2.0
/// Totals over tokens, one per expert: float sums in lane32 order over the position of the token, and counts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/routing/losses.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard::routing {

/// Tokens first, first + step, ...; the n-th of them is element n of the sum.
struct TokenRange {
  std::int64_t first = 0;
  std::int64_t step = 1;
  std::int64_t count = 0;
};
[[nodiscard]] constexpr TokenRange every_token(std::int64_t num_tokens) noexcept {
  return {0, 1, num_tokens};
}

/// @param values [tokens * columns]; @param mask [tokens] or empty; @param factors [tokens] or empty: each row is
/// multiplied by its token's factor first (rounded)
/// @return [columns]
[[nodiscard]] std::vector<float> column_sums(std::span<float const> values, std::int64_t columns, TokenRange tokens,
                                             TokenMask mask = {}, std::span<float const> factors = {});

/// @return [experts] how many choices of these tokens each expert got
[[nodiscard]] std::vector<std::int64_t> count_choices(RoutingMap const& routing, TokenRange tokens);

}  // namespace switchyard::routing
