// SPDX-License-Identifier: Apache-2.0
/// What the losses share: masks and counts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "router_rows.hpp"
#include "switchyard/routing/losses.hpp"

namespace switchyard::routing {

void require_mask(TokenMask mask, std::int64_t num_tokens);
[[nodiscard]] inline bool is_masked(TokenMask mask, std::int64_t token) {
  return !mask.empty() && mask[static_cast<std::size_t>(token)] == 0;
}

/// The counts as fp32, rounded once each. @throws Error{invalid_argument} for a negative one.
[[nodiscard]] std::vector<float> counts_as_floats(std::span<std::int64_t const> counts);

}  // namespace switchyard::routing
