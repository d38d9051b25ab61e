// SPDX-License-Identifier: Apache-2.0
/// The router's losses as far as one token, one expert or one factor goes. Sums over tokens and experts are lane32.
#pragma once

#include <cstdint>

#include "switchyard/hd/router_gradient.hpp"

namespace switchyard::hd {

/// Added to the sum that sigmoid and sqrt_softplus scores are divided by.
inline constexpr float kScoreSumEpsilon = 1e-20f;

SWITCHYARD_HD constexpr bool is_softmax(ScoreFunction function) noexcept {
  return function == ScoreFunction::softmax_pre || function == ScoreFunction::softmax_post;
}

/// The scores that a balance loss averages: softmax over all experts, or scores divided by their sum. `scores` may be
/// `logits`.
template <typename Crew>
SWITCHYARD_HD inline void loss_score_row(Crew const& crew, ScoreFunction function, float const* logits,
                                         std::int64_t count, float* scores) noexcept {
  if (is_softmax(function)) return softmax(crew, logits, count, scores);
  score_row(crew, function, logits, count, scores);
  normalise(crew, Normalisation::sum, scores, count, kScoreSumEpsilon);
}

/// Gradient at the logits of one token from that at its loss scores.
/// @param scores [experts] memory; @param d_logits [experts] out; may be `d_scores`, not `logits`
template <typename Crew>
SWITCHYARD_HD inline void loss_score_gradient(Crew const& crew, ScoreFunction function, float const* logits,
                                              float const* d_scores, std::int64_t count, float* scores,
                                              float* d_logits) noexcept {
  if (is_softmax(function)) {
    softmax(crew, logits, count, scores);
    return softmax_gradient(crew, scores, d_scores, count, d_logits);
  }
  score_row(crew, function, logits, count, scores);
  crew.write(count, d_logits, [=](std::int64_t e) { return d_scores[e]; });
  normalise_gradient(crew, Normalisation::sum, scores, count, kScoreSumEpsilon, d_logits);
  crew.write(count, d_logits,
             [=](std::int64_t e) { return mul_rn(d_logits[e], score_slope(function, logits[e], scores[e])); });
}

/// One more divisor of a loss's factor, in fp64; nothing to divide by means nothing to sum.
SWITCHYARD_HD inline double divide_factor(double factor, std::int64_t divisor) noexcept {
  return divisor == 0 ? 0.0 : div_rn(factor, static_cast<double>(divisor));
}

/// The gradient of a balance loss at any score of the expert whose count is the term, and of a z loss at the token
/// whose log-sum-exp is.
SWITCHYARD_HD inline float scaled_term(float factor, float term, float loss_scale) noexcept {
  return mul_rn(mul_rn(factor, term), loss_scale);
}

/// A loss from its factor and the sum of its terms.
SWITCHYARD_HD inline float loss_value(float factor, float sum) noexcept {
  return canonical(mul_rn(factor, sum));
}

/// Gradient of the z loss at the logits of one token. @param at_sum the loss's gradient at the token's log-sum-exp
/// @param d_logits [experts] out; may be `logits`
template <typename Crew>
SWITCHYARD_HD inline void z_loss_gradient(Crew const& crew, float const* logits, std::int64_t count, float at_sum,
                                          float* d_logits) noexcept {
  softmax(crew, logits, count, d_logits);
  crew.write(count, d_logits, [=](std::int64_t e) { return mul_rn(at_sum, d_logits[e]); });
}

/// Sinkhorn's factor of a token or an expert from its sum; @param count of tokens, or of experts
SWITCHYARD_HD inline float sinkhorn_factor(float sum, std::int64_t count) noexcept {
  constexpr float kEpsilon = 1e-8f;
  return mul_rn(div_rn(1.0f, add_rn(sum, kEpsilon)), div_rn(1.0f, static_cast<float>(count)));
}
SWITCHYARD_HD inline float sinkhorn_value(float of_expert, float cost, float of_token) noexcept {
  return mul_rn(mul_rn(of_expert, cost), of_token);
}

/// The sign of sum / experts - count, in integers: the quotient decides, its remainder breaks a tie.
SWITCHYARD_HD constexpr int sign_of_shortfall(std::int64_t sum, std::int64_t num_experts, std::int64_t count) noexcept {
  std::int64_t const quotient = sum / num_experts;
  if (count != quotient) return count < quotient ? 1 : -1;
  return sum % num_experts != 0 ? 1 : 0;
}

/// A selection bias after an update.
SWITCHYARD_HD inline float updated_bias(float bias, int sign, float rate) noexcept {
  if (sign == 0) return bias;
  return sign > 0 ? add_rn(bias, rate) : sub_rn(bias, rate);
}

}  // namespace switchyard::hd
