// SPDX-License-Identifier: Apache-2.0
/// The router front end: logits of one rank's tokens -> which experts they choose and with which weights, and back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/routing/routing_map.hpp"
#include "switchyard/types/dtype.hpp"
#include "switchyard/types/score_function.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard {

/// What happens to a NaN logit.
enum class NanPolicy : std::uint8_t {
  reject,  ///< an error that names token and expert
  lowest,  ///< it counts as -inf: chosen after every number, weight 0
};

/// Experts are chosen inside the best `group_topk` of `num_groups` equal blocks of experts (DeepSeek-V3: 4 of 8).
struct GroupLimit {
  int num_groups = 1;
  int group_topk = 1;
  /// A group's score is the sum of this many largest scores in it. 0 = top_k / group_topk, the rule of newest Megatron
  /// and DeepSeek; older Megatron always takes 2.
  int scores_per_group = 0;
  friend bool operator==(GroupLimit const&, GroupLimit const&) = default;
};

/// The narrower dtypes that values pass through, each f32 (no rounding), bf16 or f16; one rounding to nearest even.
struct RouterRounding {
  DType logits = DType::f32;   ///< before anything else (logits given as bf16 are exact and need none)
  DType scores = DType::f32;   ///< before bias and top-k: MindSpeed's cast, which makes ties that Megatron has not
  DType weights = DType::f32;  ///< the last step: Megatron's cast to the logits' dtype
  friend bool operator==(RouterRounding const&, RouterRounding const&) = default;
};

/// One router, as data. Stages, in this order: round logits, scores in fp32, round scores, add the selection bias (for
/// the choice alone), limit to groups, top-k, gather, (softmax_post: softmax over the chosen), normalise, scale, round.
struct RouterConfig {
  ScoreFunction score_function = ScoreFunction::softmax_post;
  int top_k = 1;
  std::optional<GroupLimit> groups{};
  Normalisation normalisation = Normalisation::none;  ///< Megatron: sum for sigmoid and sqrt_softplus
  bool normalise_single = false;                      ///< also with top_k = 1 (MegaBlocks); Megatron and Tutel do not
  float epsilon = 1e-20F;                             ///< added to the divisor
  float scaling_factor = 1.0F;
  RouterRounding rounding{};
  NanPolicy nan_policy = NanPolicy::reject;
  friend bool operator==(RouterConfig const&, RouterConfig const&) = default;
};

/// @throws Error{invalid_argument} naming the field: top_k outside [1, experts], experts not divisible into groups,
/// fewer eligible experts than top_k, scores_per_group outside [1, experts per group], a dtype other than f32, bf16,
/// f16, an epsilon or scaling factor that is not finite (epsilon also: negative).
void validate(RouterConfig const& config, int num_experts);

/// Chooses experts for every token.
/// @param logits [tokens, experts], contiguous, host; f32, bf16 or f16
/// @param bias   [experts] selection bias (loss-free balancing), added to the scores for the choice only; empty = none
/// @return topk form, slots in the order of the choice: value descending, ties expert ascending; every slot is filled.
/// @throws Error{invalid_argument}: see validate(); a NaN logit under NanPolicy::reject; a +inf logit unless the scores
/// are sigmoids (it has no finite score); a bias that is not finite, or given with softmax_post. Error{shape_mismatch}:
/// logits of another rank or dtype, a bias of another length.
/// @note O(tokens * experts * log top_k) at worst; pure; sums in lane32 order, bits equal on every backend
/// (docs/determinism/router.md). Experts outside the chosen groups are left out, where Megatron gives them -inf: an
/// eligible expert whose own score is -inf still comes before them here.
/// @see Megatron-Core moe_utils.topk_routing_with_score_function, MegaBlocks layers/router.py; their ties are
/// unspecified
[[nodiscard]] RoutingMap route(RouterConfig const& config, ConstTensorView logits, std::span<float const> bias = {});

/// The same with the choice made by foreign values (Sinkhorn, replay of another router), weights from the own scores.
/// @param selection [tokens * experts], no NaN; the largest top_k of a token's row are chosen
/// @throws as route(), and Error{invalid_argument} for a NaN in `selection`, naming token and expert.
[[nodiscard]] RoutingMap route_by(RouterConfig const& config, ConstTensorView logits, std::span<float const> selection);

/// Gradient at the logits from the gradient at the weights that route() or route_by() returned.
/// @param routing   the result of the forward call, before any dropping (a dropped choice has gradient 0)
/// @param d_weights [tokens * top_k]
/// @return [tokens * experts] fp32. The choice is a constant, the bias has no gradient, roundings count as the
/// identity.
/// @throws Error{shape_mismatch} for other shapes, Error{invalid_argument} for a slot without an expert or bad logits.
[[nodiscard]] std::vector<float> route_backward(RouterConfig const& config, ConstTensorView logits,
                                                RoutingMap const& routing, std::span<float const> d_weights);

}  // namespace switchyard
