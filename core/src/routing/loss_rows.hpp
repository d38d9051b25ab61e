// SPDX-License-Identifier: Apache-2.0
/// What the losses share: the scores of one token, their gradient, factors and masks.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "router_rows.hpp"
#include "switchyard/routing/losses.hpp"

namespace switchyard::routing {

/// The scores of one row of logits as loss_scores() defines them.
void loss_score_row(ScoreFunction function, float const* logits, std::span<float> scores);

/// Gradient at the logits of one token from that at its loss scores. `scores` and `work` are [experts] of memory.
void loss_score_row_backward(ScoreFunction function, float const* logits, std::span<float const> d_scores,
                             std::span<float> scores, std::span<float> work, std::span<float> d_logits);

/// @return numerator / divisors, left to right in fp64, rounded to
/// fp32 once; 0 when a divisor is 0, because then there is nothing to sum.
[[nodiscard]] float loss_factor(double numerator, std::initializer_list<std::int64_t> divisors);

void require_mask(TokenMask mask, std::int64_t num_tokens);
[[nodiscard]] inline bool is_masked(TokenMask mask, std::int64_t token) {
  return !mask.empty() && mask[static_cast<std::size_t>(token)] == 0;
}

/// The counts as fp32, rounded once each. @throws Error{invalid_argument} for a negative one.
[[nodiscard]] std::vector<float> counts_as_floats(std::span<std::int64_t const> counts);

}  // namespace switchyard::routing
