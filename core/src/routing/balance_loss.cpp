// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "loss_rows.hpp"
#include "switchyard/hd/router_loss.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "token_totals.hpp"

namespace switchyard {
namespace {

using routing::TokenRange;

float balance_loss_of(BalanceLoss const& loss, std::span<float const> scores, std::span<std::int64_t const> counts,
                      TokenRange tokens, TokenMask mask) {
  auto const experts = static_cast<std::int64_t>(counts.size());
  std::vector<float> const floats = routing::counts_as_floats(counts);
  std::vector<float> const sums = routing::column_sums(scores, experts, tokens, mask);
  float const dot = hd::lane32_sum(experts, hd::Products{sums.data(), floats.data()});
  return hd::loss_value(internal::balance_factor(loss, experts), dot);
}

/// The gradient at any token's scores: it does not depend on them.
std::vector<float> score_gradient(BalanceLoss const& loss, std::span<std::int64_t const> counts, float loss_scale) {
  float const factor = internal::balance_factor(loss, static_cast<std::int64_t>(counts.size()));
  std::vector<float> gradient = routing::counts_as_floats(counts);
  for (float& value : gradient) value = hd::scaled_term(factor, value, loss_scale);
  return gradient;
}

void backward_tokens(ScoreFunction function, routing::LogitRows& rows, std::span<float const> d_scores,
                     TokenRange tokens, TokenMask mask, std::vector<float>& d_logits) {
  std::size_t const experts = to_size(rows.num_experts());
  std::vector<float> scores(experts);
  for (std::int64_t n = 0; n < tokens.count; ++n) {
    std::int64_t const token = tokens.first + n * tokens.step;
    if (routing::is_masked(mask, token)) continue;
    hd::loss_score_gradient(hd::Alone{}, function, rows.row(token), d_scores.data(), rows.num_experts(), scores.data(),
                            &d_logits[to_size(token) * experts]);
  }
}

void require_experts(std::int64_t expected, std::size_t actual) {
  SWITCHYARD_REQUIRE(actual == to_size(expected), shape_mismatch, "{} expert counts for logits of {} experts", actual,
                     expected);
}

void require_sequences(SequenceShape shape, RoutingMap const& chosen, std::size_t num_scores) {
  SWITCHYARD_REQUIRE(shape.seq_length >= 0 && shape.batch_size >= 0 &&
                         checked_mul(shape.seq_length, shape.batch_size) == chosen.num_tokens(),
                     shape_mismatch, "{} sequences of {} tokens do not cover the {} tokens of the routing",
                     shape.batch_size, shape.seq_length, chosen.num_tokens());
  SWITCHYARD_REQUIRE(num_scores == to_size(checked_mul(chosen.num_tokens(), chosen.num_experts())), shape_mismatch,
                     "{} scores for {} tokens x {} experts", num_scores, chosen.num_tokens(), chosen.num_experts());
}

TokenRange tokens_of(SequenceShape shape, std::int64_t sequence) {
  return {sequence, shape.batch_size, shape.seq_length};
}

}  // namespace

float balance_loss(BalanceLoss const& loss, std::span<float const> scores, std::span<std::int64_t const> counts,
                   TokenMask mask) {
  SWITCHYARD_REQUIRE(!counts.empty() && scores.size() % counts.size() == 0, shape_mismatch,
                     "{} scores are no matrix of {} experts per token", scores.size(), counts.size());
  auto const tokens = static_cast<std::int64_t>(scores.size() / counts.size());
  routing::require_mask(mask, tokens);
  return balance_loss_of(loss, scores, counts, routing::every_token(tokens), mask);
}

std::vector<float> balance_loss_backward(BalanceLoss const& loss, ScoreFunction function, ConstTensorView logits,
                                         std::span<std::int64_t const> counts, float loss_scale, TokenMask mask) {
  routing::LogitRows rows(logits, hd::LogitRules{});
  require_experts(rows.num_experts(), counts.size());
  routing::require_mask(mask, rows.num_tokens());
  std::vector<float> d_logits(to_size(checked_mul(rows.num_tokens(), rows.num_experts())));
  backward_tokens(function, rows, score_gradient(loss, counts, loss_scale), routing::every_token(rows.num_tokens()),
                  mask, d_logits);
  return d_logits;
}

float sequence_balance_loss(double coefficient, int top_k, SequenceShape shape, std::span<float const> scores,
                            RoutingMap const& chosen) {
  require_sequences(shape, chosen, scores.size());
  if (chosen.num_tokens() == 0) return 0.0F;
  BalanceLoss const loss{coefficient, top_k, shape.seq_length, shape.seq_length};
  std::vector<float> losses(to_size(shape.batch_size));
  for (std::int64_t b = 0; b < shape.batch_size; ++b) {
    TokenRange const tokens = tokens_of(shape, b);
    losses[to_size(b)] = balance_loss_of(loss, scores, routing::count_choices(chosen, tokens), tokens, {});
  }
  float const sum = hd::lane32_sum(shape.batch_size, hd::Elements{losses.data()});
  return hd::div_rn(sum, static_cast<float>(shape.batch_size));
}

std::vector<float> sequence_balance_loss_backward(double coefficient, int top_k, SequenceShape shape,
                                                  ScoreFunction function, ConstTensorView logits,
                                                  RoutingMap const& chosen, float loss_scale) {
  routing::LogitRows rows(logits, hd::LogitRules{});
  std::vector<float> d_logits(to_size(checked_mul(rows.num_tokens(), rows.num_experts())));
  require_sequences(shape, chosen, d_logits.size());
  if (chosen.num_tokens() == 0) return d_logits;
  BalanceLoss const loss{coefficient, top_k, shape.seq_length, shape.seq_length};
  float const share = hd::div_rn(loss_scale, static_cast<float>(shape.batch_size));
  for (std::int64_t b = 0; b < shape.batch_size; ++b) {
    TokenRange const tokens = tokens_of(shape, b);
    backward_tokens(function, rows, score_gradient(loss, routing::count_choices(chosen, tokens), share), tokens, {},
                    d_logits);
  }
  return d_logits;
}

CountWindow::CountWindow(int num_experts) {
  SWITCHYARD_REQUIRE(num_experts >= 1, invalid_argument, "a count window over {} experts: it needs at least one",
                     num_experts);
  counts_.resize(to_size(num_experts));
}

void CountWindow::add(std::span<std::int64_t const> counts, std::int64_t tokens) {
  require_experts(static_cast<std::int64_t>(counts_.size()), counts.size());
  std::vector<std::int64_t> updated = counts_;
  for (std::size_t e = 0; e < updated.size(); ++e) updated[e] = checked_add(updated[e], checked_add(counts[e], 0));
  tokens_ = checked_add(tokens_, checked_add(tokens, 0));
  ++steps_;
  counts_ = std::move(updated);
}

BalanceLoss CountWindow::loss(double coefficient, int top_k, std::int64_t step_tokens, Weighing weighing) const {
  std::int64_t const counted = weighing == Weighing::by_token ? tokens_ : checked_mul(steps_, step_tokens);
  return BalanceLoss{coefficient, top_k, counted, step_tokens};
}

}  // namespace switchyard
