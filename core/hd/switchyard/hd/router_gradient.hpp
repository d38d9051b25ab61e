// SPDX-License-Identifier: Apache-2.0
/// Gradient of one token's routing weights with respect to its logits. The choice is a constant; roundings to narrower
/// dtypes count as the identity, and the bias has no gradient.
#pragma once

#include <cstdint>

#include "switchyard/hd/router_step.hpp"

namespace switchyard::hd {

/// d score / d logit of the functions that look at one logit only, from the logit and its score.
SWITCHYARD_HD inline float score_slope(ScoreFunction function, float logit, float score) noexcept {
  if (function == ScoreFunction::sigmoid) return mul_rn(score, sigmoid(-logit));  // 1 - score would cancel
  // sqrt_softplus: sigmoid(z) / (2 score); far below 0 both vanish together and the slope with them.
  return score == 0.0f ? 0.0f : div_rn(sigmoid(logit), mul_rn(2.0f, score));
}

/// Memory of one token: gradient and scores [top_k each], probabilities [experts], used by softmax_pre alone.
struct RouterGradientScratch {
  float* gradient;
  float* scores;
  float* probabilities;
};

namespace detail {

/// The unnormalised scores of the chosen experts, unrounded.
template <typename Crew>
SWITCHYARD_HD inline void chosen_scores(Crew const& crew, RouterStep const& step, float const* logits,
                                        std::int32_t const* ids, RouterGradientScratch const& scratch) noexcept {
  bool const pre = step.score_function == ScoreFunction::softmax_pre;
  if (pre) softmax(crew, logits, step.num_experts, scratch.probabilities);
  crew.each(step.top_k, [=](std::int64_t k) {
    scratch.scores[k] = pre ? scratch.probabilities[ids[k]] : score_of_logit(step.score_function, logits[ids[k]]);
  });
  if (step.score_function == ScoreFunction::softmax_post) softmax(crew, scratch.scores, step.top_k, scratch.scores);
}

/// softmax_pre: an expert that was not chosen has gradient 0 at its probability, so the mean runs over the chosen ones
/// alone. `d_logits` holds zeros.
template <typename Crew>
SWITCHYARD_HD inline void pre_softmax_gradient(Crew const& crew, RouterStep const& step, std::int32_t const* ids,
                                               RouterGradientScratch const& scratch, float* d_logits) noexcept {
  float const mean = crew.sum(step.top_k, Products{scratch.gradient, scratch.scores});
  crew.each(step.top_k, [=](std::int64_t k) { d_logits[ids[k]] = scratch.gradient[k]; });
  crew.write(step.num_experts, d_logits,
             [=](std::int64_t e) { return canonical(mul_rn(scratch.probabilities[e], sub_rn(d_logits[e], mean))); });
}

}  // namespace detail

/// @param ids       [top_k] the chosen experts, distinct
/// @param d_weights [top_k] gradient at the weights that route_token returned
/// @param d_logits  [experts] out, every element written. `logits` may be scratch.probabilities.
template <typename Crew>
SWITCHYARD_HD inline void route_token_gradient(Crew const& crew, RouterStep const& step, float const* logits,
                                               std::int32_t const* ids, float const* d_weights,
                                               RouterGradientScratch const& scratch, float* d_logits) noexcept {
  detail::chosen_scores(crew, step, logits, ids, scratch);
  float* const gradient = scratch.gradient;
  crew.write(step.top_k, gradient, [=](std::int64_t k) { return mul_rn(d_weights[k], step.scaling_factor); });
  normalise_gradient(crew, step.normalisation, scratch.scores, step.top_k, step.epsilon, gradient);
  crew.write(step.num_experts, d_logits, [](std::int64_t) { return 0.0f; });
  if (step.score_function == ScoreFunction::softmax_pre)
    return detail::pre_softmax_gradient(crew, step, ids, scratch, d_logits);
  bool const post = step.score_function == ScoreFunction::softmax_post;
  if (post) softmax_gradient(crew, scratch.scores, gradient, step.top_k, gradient);
  crew.each(step.top_k, [=](std::int64_t k) {
    float const slope = post ? 1.0f : score_slope(step.score_function, logits[ids[k]], scratch.scores[k]);
    d_logits[ids[k]] = canonical(mul_rn(gradient[k], slope));
  });
}

}  // namespace switchyard::hd
