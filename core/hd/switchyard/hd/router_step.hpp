// SPDX-License-Identifier: Apache-2.0
/// Routing of one token: logits -> scores -> groups -> top-k -> weights. What a CPU loop and a kernel's thread both
/// run.
///
/// The order of roundings: scores in fp32, rounded once to score_dtype; the selection bias is added to that (one fp32
/// addition, for the choice alone); the weights are gathered, normalised, scaled, rounded once to weight_dtype.
#pragma once

#include <cstdint>

#include "switchyard/hd/convert.hpp"
#include "switchyard/hd/softmax.hpp"
#include "switchyard/hd/top_k.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::hd {

/// The configuration in plain numbers; switchyard::RouterConfig documents the fields. One group = no group limit.
struct RouterStep {
  ScoreFunction score_function;
  Normalisation normalisation;
  DType score_dtype;
  DType weight_dtype;
  int num_experts;
  int top_k;
  int num_groups;
  int group_topk;
  int scores_per_group;
  float epsilon;
  float scaling_factor;
};

/// What decides the choice besides the token's own scores. At most one of them is set.
struct RouterChoice {
  float const* bias = nullptr;       ///< [experts] added to the scores
  float const* selection = nullptr;  ///< [experts] of this token, instead of the scores
};

/// Memory of one token: scores and biased [experts], values and ids [scores_per_group + group_topk].
struct RouterScratch {
  float* scores;
  float* biased;
  float* values;
  std::int32_t* ids;
};

/// Rounds through a narrower dtype; f32 keeps the value.
SWITCHYARD_HD inline float round_through(DType dtype, float value) noexcept {
  if (dtype == DType::bf16) return widen(round_to_bf16(value));
  if (dtype == DType::f16) return widen(round_to_f16(value));
  return value;
}

/// The score of one logit, for the functions that look at one logit only.
SWITCHYARD_HD inline float score_of_logit(ScoreFunction function, float logit) noexcept {
  if (function == ScoreFunction::sigmoid) return sigmoid(logit);
  if (function == ScoreFunction::sqrt_softplus) return sqrt(softplus(logit));
  return logit;
}

/// Scores of all experts; with softmax_post these are the logits, whose softmax comes after the choice.
SWITCHYARD_HD inline void score_row(ScoreFunction function, float const* logits, std::int64_t count,
                                    float* scores) noexcept {
  if (function == ScoreFunction::softmax_pre) {
    softmax(logits, count, scores);
  } else if (function == ScoreFunction::sigmoid) {
    for (std::int64_t e = 0; e < count; ++e) scores[e] = sigmoid(logits[e]);
  } else if (function == ScoreFunction::sqrt_softplus) {
    for (std::int64_t e = 0; e < count; ++e) scores[e] = sqrt(softplus(logits[e]));
  } else {
    for (std::int64_t e = 0; e < count; ++e) scores[e] = logits[e];
  }
}

namespace detail {

/// The values that decide: foreign ones, the scores with the bias (written to `values`), or the scores themselves.
SWITCHYARD_HD inline float const* choice_row(RouterChoice const& choice, float const* scores, std::int64_t count,
                                             float* values) noexcept {
  if (choice.selection != nullptr) return choice.selection;
  if (choice.bias == nullptr) return scores;
  for (std::int64_t e = 0; e < count; ++e) values[e] = add_rn(scores[e], choice.bias[e]);
  return values;
}

/// The group_topk groups with the largest scores; a group's score is the lane32 sum of its scores_per_group largest
/// values, taken in descending order.
SWITCHYARD_HD inline TopK choose_groups(RouterStep const& step, float const* row,
                                        RouterScratch const& scratch) noexcept {
  int const group_size = step.num_experts / step.num_groups;
  TopK groups{scratch.values, scratch.ids, step.group_topk};
  for (int group = 0; group < step.num_groups; ++group) {
    TopK best{scratch.values + step.group_topk, scratch.ids + step.group_topk, step.scores_per_group};
    best.offer_row(row, group * group_size, (group + 1) * group_size);
    // Infinite partial sums of both signs (possible with softmax_post alone) make a NaN, which counts as lowest.
    float const score = lane32_sum(best.count, Elements{best.values});
    groups.offer(score != score ? bits_to<float>(0xff800000u) : score, group);
  }
  return groups;
}

SWITCHYARD_HD inline bool contains(TopK const& list, int id) noexcept {
  for (int i = 0; i < list.count; ++i)
    if (list.ids[i] == id) return true;
  return false;
}

SWITCHYARD_HD inline void choose_experts(RouterStep const& step, float const* row, RouterScratch const& scratch,
                                         std::int32_t* ids, float* values) noexcept {
  TopK experts{values, ids, step.top_k};
  if (step.num_groups == 1) return experts.offer_row(row, 0, step.num_experts);
  int const group_size = step.num_experts / step.num_groups;
  TopK const groups = choose_groups(step, row, scratch);
  for (int group = 0; group < step.num_groups; ++group)
    if (contains(groups, group)) experts.offer_row(row, group * group_size, (group + 1) * group_size);
}

}  // namespace detail

/// Routes one token. @param logits [experts], no NaN; no +inf either unless the scores are sigmoids
/// @param ids, weights  [top_k] out, in the order of the choice
SWITCHYARD_HD inline void route_token(RouterStep const& step, float const* logits, RouterChoice const& choice,
                                      RouterScratch const& scratch, std::int32_t* ids, float* weights) noexcept {
  score_row(step.score_function, logits, step.num_experts, scratch.scores);
  if (step.score_dtype != DType::f32)
    for (int e = 0; e < step.num_experts; ++e) scratch.scores[e] = round_through(step.score_dtype, scratch.scores[e]);
  float const* const row = detail::choice_row(choice, scratch.scores, step.num_experts, scratch.biased);
  detail::choose_experts(step, row, scratch, ids, weights);
  for (int k = 0; k < step.top_k; ++k) weights[k] = scratch.scores[ids[k]];
  if (step.score_function == ScoreFunction::softmax_post) softmax(weights, step.top_k, weights);
  normalise(step.normalisation, weights, step.top_k, step.epsilon);
  for (int k = 0; k < step.top_k; ++k)
    weights[k] = round_through(step.weight_dtype, mul_rn(weights[k], step.scaling_factor));
}

}  // namespace switchyard::hd
