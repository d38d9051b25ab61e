// SPDX-License-Identifier: Apache-2.0
#include "switchyard/routing/router.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "router_rows.hpp"
#include "switchyard/hd/router_gradient.hpp"
#include "switchyard/hd/router_step.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

routing::LogitRows open_logits(RouterConfig const& config, ConstTensorView logits) {
  return {logits, internal::logit_rules(config)};
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
    hd::route_token(hd::Alone{}, step, rows.row(token), choice_of(token), memory.scratch(), &ids[first],
                    &weights[first]);
  }
  return RoutingMap::from_topk(rows.num_tokens(), step.num_experts, step.top_k, std::move(ids), std::move(weights));
}

void require_bias(RouterConfig const& config, std::span<float const> bias, int num_experts) {
  if (bias.empty()) return;
  SWITCHYARD_REQUIRE(bias.size() == to_size(num_experts), shape_mismatch,
                     "selection bias has {} entries for {} experts: it needs one per expert", bias.size(), num_experts);
  internal::require_takes_bias(config);
  for (std::size_t e = 0; e < bias.size(); ++e)
    if (!hd::is_finite_f32(bias[e])) internal::throw_bias_fault(static_cast<std::int64_t>(e), bias[e]);
}

void require_selection(std::span<float const> selection, std::int64_t num_tokens, int num_experts) {
  SWITCHYARD_REQUIRE(selection.size() == to_size(checked_mul(num_tokens, num_experts)), shape_mismatch,
                     "selection has {} entries for {} tokens x {} experts", selection.size(), num_tokens, num_experts);
  auto const bad = std::find_if(selection.begin(), selection.end(), [](float value) { return std::isnan(value); });
  if (bad == selection.end()) return;
  auto const position = bad - selection.begin();
  internal::throw_selection_fault(position / num_experts, position % num_experts);
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
  if (dropped != routing.ids().end()) internal::throw_dropped_choice(dropped - routing.ids().begin(), step.top_k);
}

}  // namespace

RoutingMap route(RouterConfig const& config, ConstTensorView logits, std::span<float const> bias) {
  routing::LogitRows rows = open_logits(config, logits);
  hd::RouterStep const step = internal::router_step(config, rows.num_experts());
  require_bias(config, bias, step.num_experts);
  hd::RouterChoice const choice{bias.empty() ? nullptr : bias.data(), nullptr};
  return route_tokens(step, rows, [&](std::int64_t) { return choice; });
}

RoutingMap route_by(RouterConfig const& config, ConstTensorView logits, std::span<float const> selection) {
  routing::LogitRows rows = open_logits(config, logits);
  hd::RouterStep const step = internal::router_step(config, rows.num_experts());
  require_selection(selection, rows.num_tokens(), step.num_experts);
  return route_tokens(step, rows, [&](std::int64_t token) {
    return hd::RouterChoice{nullptr, selection.data() + token * step.num_experts};
  });
}

std::vector<float> route_backward(RouterConfig const& config, ConstTensorView logits, RoutingMap const& routing,
                                  std::span<float const> d_weights) {
  routing::LogitRows rows = open_logits(config, logits);
  hd::RouterStep const step = internal::router_step(config, rows.num_experts());
  require_gradient_inputs(step, rows, routing, d_weights);
  std::vector<float> gradient(to_size(step.top_k));
  std::vector<float> scores(to_size(step.top_k));
  std::vector<float> probabilities(to_size(step.num_experts));
  hd::RouterGradientScratch const scratch{gradient.data(), scores.data(), probabilities.data()};
  std::vector<float> d_logits(to_size(checked_mul(rows.num_tokens(), step.num_experts)));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token) {
    std::size_t const first = to_size(token * step.top_k);
    hd::route_token_gradient(hd::Alone{}, step, rows.row(token), &routing.ids()[first], &d_weights[first], scratch,
                             &d_logits[to_size(token * step.num_experts)]);
  }
  return d_logits;
}

}  // namespace switchyard
