// SPDX-License-Identifier: Apache-2.0
#include "loss_rows.hpp"

#include <algorithm>
#include <cmath>

#include "switchyard/hd/router_gradient.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "token_totals.hpp"

namespace switchyard {
namespace routing {
namespace {

constexpr float kScoreSumEpsilon = 1e-20F;

bool is_softmax(ScoreFunction function) {
  return function == ScoreFunction::softmax_pre || function == ScoreFunction::softmax_post;
}

}  // namespace

void loss_score_row(ScoreFunction function, float const* logits, std::span<float> scores) {
  auto const count = static_cast<std::int64_t>(scores.size());
  hd::score_row(hd::Alone{}, is_softmax(function) ? ScoreFunction::softmax_pre : function, logits, count,
                scores.data());
  if (!is_softmax(function)) hd::normalise(hd::Alone{}, Normalisation::sum, scores.data(), count, kScoreSumEpsilon);
}

void loss_score_row_backward(ScoreFunction function, float const* logits, std::span<float const> d_scores,
                             std::span<float> scores, std::span<float> work, std::span<float> d_logits) {
  auto const count = static_cast<std::int64_t>(scores.size());
  if (is_softmax(function)) {
    hd::softmax(logits, count, scores.data());
    hd::softmax_gradient(scores.data(), d_scores.data(), count, d_logits.data());
    return;
  }
  hd::score_row(hd::Alone{}, function, logits, count, scores.data());
  std::copy(d_scores.begin(), d_scores.end(), work.begin());
  hd::normalise_gradient(hd::Alone{}, Normalisation::sum, scores.data(), count, kScoreSumEpsilon, work.data());
  for (std::size_t e = 0; e < scores.size(); ++e)
    d_logits[e] = hd::mul_rn(work[e], hd::score_slope(function, logits[e], scores[e]));
}

float loss_factor(double numerator, std::initializer_list<std::int64_t> divisors) {
  SWITCHYARD_REQUIRE(std::isfinite(numerator), invalid_argument, "loss coefficient {} must be finite", numerator);
  double factor = numerator;
  for (std::int64_t const divisor : divisors) {
    SWITCHYARD_REQUIRE(
        divisor >= 0, invalid_argument,
        "a loss is divided by {}: top_k and numbers of tokens, layers and sequences must not be negative", divisor);
    if (divisor == 0) return 0.0F;
    factor = hd::div_rn(factor, static_cast<double>(divisor));
  }
  return static_cast<float>(factor);
}

void require_mask(TokenMask mask, std::int64_t num_tokens) {
  SWITCHYARD_REQUIRE(mask.empty() || mask.size() == to_size(num_tokens), shape_mismatch,
                     "token mask has {} entries for {} tokens: give one per token or none", mask.size(), num_tokens);
}

std::vector<float> counts_as_floats(std::span<std::int64_t const> counts) {
  std::vector<float> floats(counts.size());
  for (std::size_t e = 0; e < counts.size(); ++e) {
    SWITCHYARD_REQUIRE(counts[e] >= 0, invalid_argument, "token count of expert {} is {}: it must not be negative", e,
                       counts[e]);
    floats[e] = static_cast<float>(counts[e]);
  }
  return floats;
}

}  // namespace routing

std::vector<std::int64_t> tokens_per_expert(RoutingMap const& chosen) {
  return routing::count_choices(chosen, routing::every_token(chosen.num_tokens()));
}

std::vector<float> loss_scores(ScoreFunction function, ConstTensorView logits) {
  routing::LogitRows rows(logits, hd::LogitRules{});
  std::size_t const experts = to_size(rows.num_experts());
  std::vector<float> scores(to_size(checked_mul(rows.num_tokens(), rows.num_experts())));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token)
    routing::loss_score_row(function, rows.row(token), std::span(scores).subspan(to_size(token) * experts, experts));
  return scores;
}

}  // namespace switchyard
