// SPDX-License-Identifier: Apache-2.0
/// The router's named choices that the host library and the kernels share.
#pragma once

#include <cstdint>

namespace switchyard {

/// How logits become the scores that choose experts and weigh them.
enum class ScoreFunction : std::uint8_t {
  softmax_pre,    ///< softmax over all experts, then top-k; weights = the chosen probabilities
  softmax_post,   ///< top-k of the logits; weights = softmax over the chosen ones
  sigmoid,        ///< 1 / (1 + e^-z) of every logit, then top-k
  sqrt_softplus,  ///< sqrt(ln(1 + e^z)) of every logit, then top-k
};

/// What the chosen weights are divided by.
enum class Normalisation : std::uint8_t {
  none,
  sum,  ///< their sum plus epsilon
  l2,   ///< their Euclidean norm plus epsilon
};

}  // namespace switchyard
