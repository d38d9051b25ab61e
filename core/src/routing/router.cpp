// SPDX-License-Identifier: Apache-2.0
#include "switchyard/routing/router.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "router_rows.hpp"
#include "switchyard/hd/router_gradient.hpp"
#include "switchyard/hd/router_step.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

void require_rounding_dtype(char const* what, DType dtype) {
  SWITCHYARD_REQUIRE(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, invalid_argument,
                     "router rounding of the {} to {}: only f32 (none), bf16 and f16 are offered", what,
                     to_string(dtype));
}

int scores_per_group(RouterConfig const& config) {
  return config.groups->scores_per_group != 0 ? config.groups->scores_per_group
                                              : config.top_k / config.groups->group_topk;
}

void validate_groups(RouterConfig const& config, int num_experts) {
  GroupLimit const& groups = *config.groups;
  SWITCHYARD_REQUIRE(groups.num_groups >= 1 && num_experts % groups.num_groups == 0, invalid_argument,
                     "{} experts cannot be split into {} equal groups: choose a divisor of the number of experts",
                     num_experts, groups.num_groups);
  SWITCHYARD_REQUIRE(groups.group_topk >= 1 && groups.group_topk <= groups.num_groups, invalid_argument,
                     "group_topk {} is outside [1, {}], the number of groups", groups.group_topk, groups.num_groups);
  int const group_size = num_experts / groups.num_groups;
  SWITCHYARD_REQUIRE(config.top_k <= checked_mul(groups.group_topk, group_size), invalid_argument,
                     "top_k {} exceeds the {} experts of {} groups: raise group_topk or lower top_k", config.top_k,
                     checked_mul(groups.group_topk, group_size), groups.group_topk);
  int const per_group = scores_per_group(config);
  SWITCHYARD_REQUIRE(per_group >= 1 && per_group <= group_size, invalid_argument,
                     "a group's score would sum its {} largest scores, but must sum between 1 and {} (experts per "
                     "group): scores_per_group is {}, where 0 stands for top_k / group_topk = {} / {}",
                     per_group, group_size, groups.scores_per_group, config.top_k, groups.group_topk);
}

hd::RouterStep make_step(RouterConfig const& config, int num_experts) {
  validate(config, num_experts);
  bool const normalises = config.top_k > 1 || config.normalise_single;
  GroupLimit const groups = config.groups.value_or(GroupLimit{});
  return hd::RouterStep{config.score_function,
                        normalises ? config.normalisation : Normalisation::none,
                        config.rounding.scores,
                        config.rounding.weights,
                        num_experts,
                        config.top_k,
                        groups.num_groups,
                        groups.group_topk,
                        config.groups ? scores_per_group(config) : 1,
                        config.epsilon,
                        config.scaling_factor};
}

routing::LogitRows open_logits(RouterConfig const& config, ConstTensorView logits) {
  return {logits, routing::LogitRules{config.rounding.logits, config.nan_policy,
                                      config.score_function == ScoreFunction::sigmoid}};
}

/// The memory of one token's routing, reused for all of them.
class StepMemory {
 public:
  explicit StepMemory(hd::RouterStep const& step)
      : scores_(to_size(step.num_experts)),
        biased_(scores_.size()),
        values_(to_size(checked_add(step.scores_per_group, step.group_topk))),
        ids_(values_.size()) {}
  [[nodiscard]] hd::RouterScratch scratch() { return {scores_.data(), biased_.data(), values_.data(), ids_.data()}; }

 private:
  std::vector<float> scores_;
  std::vector<float> biased_;
  std::vector<float> values_;
  std::vector<std::int32_t> ids_;
};

/// Routes every token; choice_of(token) says what decides besides the token's own scores.
template <typename ChoiceOf>
RoutingMap route_tokens(hd::RouterStep const& step, routing::LogitRows& rows, ChoiceOf const& choice_of) {
  std::size_t const slots = to_size(checked_mul(rows.num_tokens(), step.top_k));
  std::vector<std::int32_t> ids(slots);
  std::vector<float> weights(slots);
  StepMemory memory(step);
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token) {
    std::size_t const first = to_size(token * step.top_k);
    hd::route_token(step, rows.row(token), choice_of(token), memory.scratch(), &ids[first], &weights[first]);
  }
  return RoutingMap::from_topk(rows.num_tokens(), step.num_experts, step.top_k, std::move(ids), std::move(weights));
}

void require_bias(RouterConfig const& config, std::span<float const> bias, int num_experts) {
  if (bias.empty()) return;
  SWITCHYARD_REQUIRE(bias.size() == to_size(num_experts), shape_mismatch,
                     "selection bias has {} entries for {} experts: it needs one per expert", bias.size(), num_experts);
  SWITCHYARD_REQUIRE(config.score_function != ScoreFunction::softmax_post, invalid_argument,
                     "a selection bias with softmax_post would be added to raw logits: use sigmoid, sqrt_softplus or "
                     "softmax_pre");
  for (std::size_t e = 0; e < bias.size(); ++e)
    SWITCHYARD_REQUIRE(std::isfinite(bias[e]), invalid_argument,
                       "selection bias of expert {} is {}: it must be finite; check the update rate", e, bias[e]);
}

void require_selection(std::span<float const> selection, std::int64_t num_tokens, int num_experts) {
  SWITCHYARD_REQUIRE(selection.size() == to_size(checked_mul(num_tokens, num_experts)), shape_mismatch,
                     "selection has {} entries for {} tokens x {} experts", selection.size(), num_tokens, num_experts);
  auto const bad = std::find_if(selection.begin(), selection.end(), [](float value) { return std::isnan(value); });
  if (bad == selection.end()) return;
  auto const position = bad - selection.begin();
  throw_error(ErrorCode::invalid_argument,
              fmt::format("selection value of token {}, expert {} is NaN: a choice needs comparable values",
                          position / num_experts, position % num_experts));
}

void require_gradient_inputs(hd::RouterStep const& step, routing::LogitRows const& rows, RoutingMap const& routing,
                             std::span<float const> d_weights) {
  SWITCHYARD_REQUIRE(
      routing.form() == RoutingForm::topk && routing.num_tokens() == rows.num_tokens() &&
          routing.num_experts() == step.num_experts && routing.top_k() == step.top_k,
      shape_mismatch,
      "routing of {} tokens, {} experts, top_k {} does not belong to logits [{}, {}] with top_k {}: pass "
      "the map that route() returned",
      routing.num_tokens(), routing.num_experts(), routing.top_k(), rows.num_tokens(), step.num_experts, step.top_k);
  SWITCHYARD_REQUIRE(d_weights.size() == routing.ids().size(), shape_mismatch,
                     "gradient of {} weights for {} tokens x {} slots", d_weights.size(), rows.num_tokens(),
                     step.top_k);
  auto const dropped = std::find(routing.ids().begin(), routing.ids().end(), -1);
  SWITCHYARD_REQUIRE(dropped == routing.ids().end(), invalid_argument,
                     "token {}, slot {} has no expert: the gradient needs the routing before dropping, with gradient 0 "
                     "at dropped weights",
                     (dropped - routing.ids().begin()) / step.top_k, (dropped - routing.ids().begin()) % step.top_k);
}

}  // namespace

void validate(RouterConfig const& config, int num_experts) {
  SWITCHYARD_REQUIRE(num_experts >= 1 && config.top_k >= 1 && config.top_k <= num_experts, invalid_argument,
                     "router top_k {} is outside [1, {}], the number of experts", config.top_k, num_experts);
  SWITCHYARD_REQUIRE(std::isfinite(config.epsilon) && config.epsilon >= 0.0F, invalid_argument,
                     "router epsilon {} must be finite and not negative", config.epsilon);
  SWITCHYARD_REQUIRE(std::isfinite(config.scaling_factor), invalid_argument, "router scaling factor {} must be finite",
                     config.scaling_factor);
  require_rounding_dtype("logits", config.rounding.logits);
  require_rounding_dtype("scores", config.rounding.scores);
  require_rounding_dtype("weights", config.rounding.weights);
  if (config.groups) validate_groups(config, num_experts);
}

RoutingMap route(RouterConfig const& config, ConstTensorView logits, std::span<float const> bias) {
  routing::LogitRows rows = open_logits(config, logits);
  hd::RouterStep const step = make_step(config, rows.num_experts());
  require_bias(config, bias, step.num_experts);
  hd::RouterChoice const choice{bias.empty() ? nullptr : bias.data(), nullptr};
  return route_tokens(step, rows, [&](std::int64_t) { return choice; });
}

RoutingMap route_by(RouterConfig const& config, ConstTensorView logits, std::span<float const> selection) {
  routing::LogitRows rows = open_logits(config, logits);
  hd::RouterStep const step = make_step(config, rows.num_experts());
  require_selection(selection, rows.num_tokens(), step.num_experts);
  return route_tokens(step, rows, [&](std::int64_t token) {
    return hd::RouterChoice{nullptr, selection.data() + token * step.num_experts};
  });
}

std::vector<float> route_backward(RouterConfig const& config, ConstTensorView logits, RoutingMap const& routing,
                                  std::span<float const> d_weights) {
  routing::LogitRows rows = open_logits(config, logits);
  hd::RouterStep const step = make_step(config, rows.num_experts());
  require_gradient_inputs(step, rows, routing, d_weights);
  std::vector<float> gradient(to_size(step.top_k));
  std::vector<float> scores(to_size(step.top_k));
  std::vector<float> probabilities(to_size(step.num_experts));
  hd::RouterGradientScratch const scratch{gradient.data(), scores.data(), probabilities.data()};
  std::vector<float> d_logits(to_size(checked_mul(rows.num_tokens(), step.num_experts)));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token) {
    std::size_t const first = to_size(token * step.top_k);
    hd::route_token_gradient(step, rows.row(token), &routing.ids()[first], &d_weights[first], scratch,
                             &d_logits[to_size(token * step.num_experts)]);
  }
  return d_logits;
}

}  // namespace switchyard
