// SPDX-License-Identifier: Apache-2.0
/// Generates expert loads from a LoadSpec: popularity, the probability of being picked, and counts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/sim/load_spec.hpp"

namespace switchyard::sim {

/// @return the relative popularity of every expert of `layer` in `step`, [experts], positive.
/// @note pure; O(step * experts) because the walk starts at step 0.
/// @throws Error{invalid_argument} as require_valid, or for a step or layer outside the spec.
[[nodiscard]] std::vector<double> expert_popularity(LoadSpec const& spec, int step, int layer);

/// Splits `total` units over items in proportion to `weights`, no item above `cap`: what a capped item cannot take goes
/// to the others in proportion, and fractions are rounded to the largest remainders (ties: lower index), so that the
/// parts add up to `total` exactly.
/// @param weights finite, not negative. @param total at most 2^52.
/// @throws Error{invalid_argument} when items of positive weight cannot hold `total`.
[[nodiscard]] std::vector<std::int64_t> apportion(std::span<double const> weights, std::int64_t total,
                                                  std::int64_t cap);

/// @return [steps][layers][experts] integer loads. Every (step, layer) adds up to tokens_per_step * top_k, and no
/// expert has more rows than there are tokens, because a token picks an expert once.
/// @throws Error{invalid_argument} as require_valid.
/// @note pure; O(steps * layers * (experts log experts + tokens * top_k if sampled)).
/// Sources: reference measurements of log-normal skew (DeepEP #393), domains and drift; sampling is systematic:
/// one uniform number per token picks top_k experts with exact inclusion probabilities.
[[nodiscard]] ExpertLoad generate_load(LoadSpec const& spec);

}  // namespace switchyard::sim
