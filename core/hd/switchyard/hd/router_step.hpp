// SPDX-License-Identifier: Apache-2.0
/// Routing of one token: logits -> scores -> groups -> top-k -> weights. What a CPU loop and a kernel's warp both run,
/// as crews of different sizes (crew.hpp).
///
/// The order of roundings: scores in fp32, rounded once to score_dtype; the selection bias is added to that (one fp32
/// addition, for the choice alone); the weights are gathered, normalised, scaled, rounded once to weight_dtype.
#pragma once

#include <cstdint>

#include "switchyard/hd/crew.hpp"
#include "switchyard/hd/router_logit.hpp"
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

/// Memory of one token: scores and biased [experts], values and ids [scores_per_group + group_topk]. A crew of lanes
/// needs other lengths: lane_scratch_entries() in router_lanes.hpp.
struct RouterScratch {
  float* scores;
  float* biased;
  float* values;
  std::int32_t* ids;
};

/// The score of one logit, for the functions that look at one logit only.
SWITCHYARD_HD inline float score_of_logit(ScoreFunction function, float logit) noexcept {
  if (function == ScoreFunction::sigmoid) return sigmoid(logit);
  if (function == ScoreFunction::sqrt_softplus) return sqrt(softplus(logit));
  return logit;
}

/// Scores of all experts; with softmax_post these are the logits, whose softmax comes after the choice.
template <typename Crew>
SWITCHYARD_HD inline void score_row(Crew const& crew, ScoreFunction function, float const* logits, std::int64_t count,
                                    float* scores) noexcept {
  // A loop per function, so that each vectorises.
  if (function == ScoreFunction::softmax_pre) {
    softmax(crew, logits, count, scores);
  } else if (function == ScoreFunction::sigmoid) {
    crew.write(count, scores, [=](std::int64_t e) { return sigmoid(logits[e]); });
  } else if (function == ScoreFunction::sqrt_softplus) {
    crew.write(count, scores, [=](std::int64_t e) { return sqrt(softplus(logits[e])); });
  } else {
    crew.write(count, scores, [=](std::int64_t e) { return logits[e]; });
  }
}

namespace detail {

/// The value of one expert that decides: the foreign one, or the score with the bias if there is one.
SWITCHYARD_HD inline float choice_value(RouterChoice const& choice, float const* scores, std::int64_t e) noexcept {
  if (choice.selection != nullptr) return choice.selection[e];
  return choice.bias == nullptr ? scores[e] : add_rn(scores[e], choice.bias[e]);
}

/// Those of all experts: written to `values` where there is a bias.
SWITCHYARD_HD inline float const* choice_row(RouterChoice const& choice, float const* scores, std::int64_t count,
                                             float* values) noexcept {
  if (choice.selection != nullptr) return choice.selection;
  if (choice.bias == nullptr) return scores;
  for (std::int64_t e = 0; e < count; ++e) values[e] = choice_value(choice, scores, e);
  return values;
}

/// A group's score is the sum of its largest values. Infinite partial sums of both signs (possible with softmax_post or
/// foreign values) make a NaN, which counts as lowest.
SWITCHYARD_HD inline float group_score(float sum) noexcept {
  return sum != sum ? bits_to<float>(0xff800000u) : sum;
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
    groups.offer(group_score(lane32_sum(best.count, Elements{best.values})), group);
  }
  return groups;
}

SWITCHYARD_HD inline bool contains(TopK const& list, int id) noexcept {
  for (int i = 0; i < list.count; ++i)
    if (list.ids[i] == id) return true;
  return false;
}

}  // namespace detail

/// The top_k experts in the order of the choice. `values` is memory of top_k.
SWITCHYARD_HD inline void choose_experts(Alone const&, RouterStep const& step, RouterChoice const& choice,
                                         RouterScratch const& scratch, std::int32_t* ids, float* values) noexcept {
  float const* const row = detail::choice_row(choice, scratch.scores, step.num_experts, scratch.biased);
  TopK experts{values, ids, step.top_k};
  if (step.num_groups == 1) return experts.offer_row(row, 0, step.num_experts);
  int const group_size = step.num_experts / step.num_groups;
  TopK const groups = detail::choose_groups(step, row, scratch);
  for (int group = 0; group < step.num_groups; ++group)
    if (detail::contains(groups, group)) experts.offer_row(row, group * group_size, (group + 1) * group_size);
}

/// Routes one token. @param logits [experts], no NaN; no +inf either unless the scores are sigmoids
/// @param ids, weights  [top_k] out, in the order of the choice
template <typename Crew>
SWITCHYARD_HD inline void route_token(Crew const& crew, RouterStep const& step, float const* logits,
                                      RouterChoice const& choice, RouterScratch const& scratch, std::int32_t* ids,
                                      float* weights) noexcept {
  float* const scores = scratch.scores;
  score_row(crew, step.score_function, logits, step.num_experts, scores);
  DType const score_dtype = step.score_dtype;
  if (score_dtype != DType::f32)
    crew.write(step.num_experts, scores, [=](std::int64_t e) { return round_through(score_dtype, scores[e]); });
  choose_experts(crew, step, choice, scratch, ids, weights);
  crew.write(step.top_k, weights, [=](std::int64_t k) { return scores[ids[k]]; });
  if (step.score_function == ScoreFunction::softmax_post) softmax(crew, weights, step.top_k, weights);
  normalise(crew, step.normalisation, weights, step.top_k, step.epsilon);
  crew.write(step.top_k, weights,
             [=](std::int64_t k) { return round_through(step.weight_dtype, mul_rn(weights[k], step.scaling_factor)); });
}

}  // namespace switchyard::hd
