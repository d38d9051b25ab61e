// SPDX-License-Identifier: Apache-2.0
// The router, its gradients and its losses against an oracle in fp64 (tests/oracle/router_oracle.hpp): every small
// token first, then random ones with ties, NaNs, groups, biases, all experts chosen, one expert, no tokens.
//
// Worked example: logits 1 1 0, top-2, softmax_pre: experts 0 and 1 (a tie, lower index first), both e / (2e + 1) =
// 0.4223188; gradient of the first weight at logit 0: p(1 - p) = 0.2439656.
//
// Choices must be equal. A token on which the oracle finds two different values closer than 1e-6 of the sizes of their
// terms is left out, because fp32 may order those the other way; the tests print how many there were and fail if they
// are not rare. Weights and losses: 2^-19 relative. Gradients: 2^-19 of the sum of the absolute values of their terms
// (oracle::Gradient::size), since their differences may cancel.
#include "oracle/router_oracle.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "support/property.hpp"
#include "switchyard/routing/losses.hpp"
#include "switchyard/routing/router.hpp"
#include "switchyard/routing/sinkhorn.hpp"

using oracle::Reals;
using switchyard::ConstTensorView;
using switchyard::RouterConfig;
using switchyard::RoutingMap;

namespace {

constexpr double kBound = 0x1p-19;
constexpr double kUndecided = 1e-6;
using Floats = std::vector<float>;

/// One call: a configuration in both languages, and logits.
struct Call {
  RouterConfig config;
  oracle::RouterSetup setup;
  int num_experts = 1;
  std::int64_t num_tokens = 0;
  Floats logits;
  Floats bias;

  [[nodiscard]] ConstTensorView view() const {
    return ConstTensorView::matrix(std::span<float const>(logits), num_tokens, num_experts);
  }
  /// A token's logits; a NaN stands for -inf, as under NanPolicy::lowest.
  [[nodiscard]] Reals row(std::int64_t token) const {
    Reals z;
    for (int e = 0; e < num_experts; ++e) {
      float const value = logits[static_cast<std::size_t>(token * num_experts + e)];
      z.push_back(std::isnan(value) ? -std::numeric_limits<double>::infinity() : static_cast<double>(value));
    }
    return z;
  }
};

void set_scores(Call& call, int kind) {
  call.config.score_function = static_cast<switchyard::ScoreFunction>(kind);
  constexpr oracle::Scores kKinds[] = {oracle::Scores::softmax_pre, oracle::Scores::softmax_post,
                                       oracle::Scores::sigmoid, oracle::Scores::sqrt_softplus};
  call.setup.scores = kKinds[kind];
}

void set_norm(Call& call, int kind) {
  call.config.normalisation = static_cast<switchyard::Normalisation>(kind);
  constexpr oracle::Norm kKinds[] = {oracle::Norm::none, oracle::Norm::sum, oracle::Norm::l2};
  call.setup.norm = kKinds[kind];
}

void set_top_k(Call& call, int top_k) {
  call.config.top_k = top_k;
  call.setup.top_k = top_k;
}

void set_groups(Call& call, int num_groups, int group_topk, int scores_per_group) {
  call.config.groups = switchyard::GroupLimit{num_groups, group_topk, scores_per_group};
  call.setup.num_groups = num_groups;
  call.setup.group_topk = group_topk;
  call.setup.scores_per_group = scores_per_group;
}

/// How many tokens were compared and how many were undecided.
struct Tally {
  std::int64_t compared = 0;
  std::int64_t undecided = 0;
};

std::string at(std::int64_t token, char const* what, double expected, double got) {
  std::ostringstream text;
  text.precision(10);
  text << what << " of token " << token << ": expected " << expected << ", got " << got;
  return text.str();
}

/// @return empty, or the first difference in choices or weights.
std::string compare_routing(Call const& call, RoutingMap const& routing, Tally& tally) {
  Reals const bias(call.bias.begin(), call.bias.end());
  auto const k = static_cast<std::size_t>(call.setup.top_k);
  for (std::int64_t token = 0; token < call.num_tokens; ++token) {
    oracle::Routed const expected = oracle::route(call.setup, call.row(token), bias);
    ++tally.compared;
    if (expected.smallest_gap < kUndecided) {
      ++tally.undecided;
      continue;
    }
    for (std::size_t slot = 0; slot < k; ++slot) {
      std::size_t const entry = static_cast<std::size_t>(token) * k + slot;
      if (routing.ids()[entry] != expected.experts[slot])
        return at(token, "choice", expected.experts[slot], routing.ids()[entry]);
      auto const weight = static_cast<double>(routing.weights()[entry]);
      if (!(std::fabs(weight - expected.weights[slot]) <= kBound * std::fabs(expected.weights[slot]) + 0x1p-140))
        return at(token, "weight", expected.weights[slot], weight);
    }
  }
  return {};
}

std::string compare_gradient(std::int64_t token, char const* what, oracle::Gradient const& expected, float const* got) {
  for (std::size_t e = 0; e < expected.value.size(); ++e)
    if (!(std::fabs(static_cast<double>(got[e]) - expected.value[e]) <= kBound * expected.size[e] + 0x1p-120))
      return at(token, what, expected.value[e], static_cast<double>(got[e]));
  return {};
}

/// The gradient of the library's own choice.
std::string compare_route_backward(Call const& call, RoutingMap const& routing, Floats const& d_weights) {
  Floats const d_logits = route_backward(call.config, call.view(), routing, d_weights);
  auto const k = static_cast<std::size_t>(call.setup.top_k);
  for (std::int64_t token = 0; token < call.num_tokens; ++token) {
    std::size_t const first = static_cast<std::size_t>(token) * k;
    std::vector<int> const experts(&routing.ids()[first], &routing.ids()[first] + k);
    Reals const d(&d_weights[first], &d_weights[first] + k);
    auto const expected = oracle::route_gradient(call.setup, call.row(token), experts, d);
    std::string const difference = compare_gradient(token, "logit gradient", expected,
                                                    &d_logits[static_cast<std::size_t>(token * call.num_experts)]);
    if (!difference.empty()) return difference;
  }
  return {};
}

/// Logits on a grid of eighths (many exact ties) or anywhere in [-16, 16].
float draw_logit(bool on_grid) {
  if (on_grid) return static_cast<float>(support::draw(-24, 25)) / 8.0F;
  return static_cast<float>(support::draw(-(1 << 20), 1 << 20)) / 65536.0F;
}

void draw_groups(Call& call) {
  std::vector<int> divisors;
  for (int g = 2; g <= call.num_experts; ++g)
    if (call.num_experts % g == 0) divisors.push_back(g);
  if (divisors.empty() || support::draw(0, 2) == 0) return;
  int const num_groups = divisors[support::draw<std::size_t>(0, divisors.size())];
  int const size = call.num_experts / num_groups;
  int const needed = (call.config.top_k + size - 1) / size;
  set_groups(call, num_groups, support::draw(needed, num_groups + 1), support::draw(1, size + 1));
}

Call draw_call(bool with_nan) {
  Call call;
  constexpr int kExperts[] = {1, 2, 3, 8, 16, 31, 33, 64};
  call.num_experts = kExperts[support::draw(0, 8)];
  call.num_tokens = support::draw(0, 6);
  set_scores(call, support::draw(0, 4));
  set_norm(call, support::draw(0, 3));
  set_top_k(call, support::draw(0, 4) == 0 ? call.num_experts : support::draw(1, std::min(call.num_experts, 8) + 1));
  draw_groups(call);
  if (support::draw(0, 2) == 1) call.config.scaling_factor = 2.5F;
  call.setup.scaling = static_cast<double>(call.config.scaling_factor);
  bool const on_grid = support::draw(0, 2) == 0;
  for (std::int64_t i = 0; i < call.num_tokens * call.num_experts; ++i) call.logits.push_back(draw_logit(on_grid));
  if (with_nan && !call.logits.empty()) {
    call.config.nan_policy = switchyard::NanPolicy::lowest;
    call.logits[support::draw<std::size_t>(0, call.logits.size())] = std::numeric_limits<float>::quiet_NaN();
  }
  if (call.setup.scores != oracle::Scores::softmax_post && support::draw(0, 2) == 1)
    for (int e = 0; e < call.num_experts; ++e) call.bias.push_back(static_cast<float>(support::draw(-8, 9)) / 64.0F);
  return call;
}

Floats draw_floats(std::size_t count) {
  Floats values(count);
  for (float& value : values) value = static_cast<float>(support::draw(-1000, 1001)) / 256.0F;
  return values;
}

/// All tokens with logits in {-1, 0, 1} under one configuration.
std::string check_small_tokens(Call call, Tally& tally) {
  std::int64_t tokens = 1;
  for (int e = 0; e < call.num_experts; ++e) tokens *= 3;
  call.num_tokens = tokens;
  for (std::int64_t token = 0; token < tokens; ++token)
    for (std::int64_t e = 0, digits = token; e < call.num_experts; ++e, digits /= 3)
      call.logits.push_back(static_cast<float>(digits % 3) - 1.0F);
  RoutingMap const routing = route(call.config, call.view());
  std::string const difference = compare_routing(call, routing, tally);
  Floats d_weights;
  for (std::size_t i = 0; i < routing.ids().size(); ++i) d_weights.push_back(static_cast<float>(i % 5) - 1.5F);
  return difference.empty() ? compare_route_backward(call, routing, d_weights) : difference;
}

}  // namespace

TEST_CASE("every token of up to five experts and three logit values, every function, norm, top-k and grouping") {
  Tally tally;
  for (int experts = 1; experts <= 5; ++experts)
    for (int kind = 0; kind < 4; ++kind)
      for (int norm = 0; norm < 3; ++norm)
        for (int top_k = 1; top_k <= experts; ++top_k)
          for (int groups = 1; groups <= experts; ++groups) {
            if (experts % groups != 0) continue;
            for (int chosen = (top_k * groups + experts - 1) / experts; chosen <= groups; ++chosen)
              for (int summed = 1; summed <= experts / groups; ++summed) {
                Call call;
                call.num_experts = experts;
                set_scores(call, kind);
                set_norm(call, norm);
                set_top_k(call, top_k);
                if (groups > 1) set_groups(call, groups, chosen, summed);
                CAPTURE(experts);
                CAPTURE(kind);
                CAPTURE(norm);
                CAPTURE(top_k);
                CAPTURE(groups);
                CAPTURE(chosen);
                CAPTURE(summed);
                REQUIRE_EQ(check_small_tokens(call, tally), std::string());
              }
          }
  MESSAGE(tally.compared << " tokens, " << tally.undecided << " undecided");
  CHECK(tally.compared > 20000);
  CHECK(tally.undecided * 20 < tally.compared);
}

TEST_CASE("random tokens: choices, weights and their gradient") {
  Tally tally;
  CHECK(support::holds("route agrees with the oracle", 4000, [&] {
    Call const call = draw_call(support::draw(0, 4) == 0);
    RoutingMap const routing = route(call.config, call.view(), call.bias);
    RC_ASSERT(compare_routing(call, routing, tally) == std::string());
    Floats const d_weights = draw_floats(routing.ids().size());
    RC_ASSERT(compare_route_backward(call, routing, d_weights) == std::string());
  }));
  MESSAGE(tally.compared << " tokens, " << tally.undecided << " undecided");
  CHECK(tally.undecided * 10 < tally.compared);
}

TEST_CASE("random losses and their gradients") {
  CHECK(support::holds("losses agree with the oracle", 1500, [] {
    Call const call = draw_call(false);
    auto const experts = static_cast<std::size_t>(call.num_experts);
    std::vector<std::int64_t> counts;
    for (std::size_t e = 0; e < experts; ++e) counts.push_back(support::draw(0, 100000));
    switchyard::BalanceLoss const loss{0.01, call.config.top_k, 4 * call.num_tokens, 2 * call.num_tokens};
    double const factor = call.num_tokens == 0 ? 0.0
                                               : 0.01 * call.num_experts / call.config.top_k /
                                                     static_cast<double>(8 * call.num_tokens * call.num_tokens);
    double balance = 0.0;
    double squares = 0.0;
    for (std::int64_t token = 0; token < call.num_tokens; ++token) {
      Reals const scores = oracle::loss_scores(call.setup.scores, call.row(token));
      for (std::size_t e = 0; e < experts; ++e) balance += factor * scores[e] * static_cast<double>(counts[e]);
      squares += oracle::log_sum_exp(call.row(token)) * oracle::log_sum_exp(call.row(token));
    }
    auto const function = call.config.score_function;
    auto const got = static_cast<double>(balance_loss(loss, loss_scores(function, call.view()), counts));
    RC_ASSERT(std::fabs(got - balance) <= kBound * balance);
    double const z = call.num_tokens == 0 ? 0.0 : 0.001 * squares / static_cast<double>(call.num_tokens);
    // Near a log sum exp of 0 the rounding of the largest logit's share is what is left: 2^-19 of 16 squared.
    RC_ASSERT(std::fabs(static_cast<double>(z_loss(0.001, call.view())) - z) <= kBound * (z + 0.001));
    Floats const balance_gradient = balance_loss_backward(loss, function, call.view(), counts, 2.0F);
    Floats const z_gradient = z_loss_backward(0.001, call.view(), 2.0F);
    Reals g;
    for (std::int64_t const count : counts) g.push_back(2.0 * factor * static_cast<double>(count));
    for (std::int64_t token = 0; token < call.num_tokens; ++token) {
      Reals const row = call.row(token);
      std::size_t const first = static_cast<std::size_t>(token) * experts;
      RC_ASSERT(compare_gradient(token, "balance gradient", oracle::loss_score_gradient(call.setup.scores, row, g),
                                 &balance_gradient[first]) == std::string());
      double const lse = oracle::log_sum_exp(row);
      oracle::Gradient expected{oracle::softmax(row), {}};
      for (double& value : expected.value) {
        expected.size.push_back(value * 0.004 * (std::fabs(lse) + 1.0) / static_cast<double>(call.num_tokens));
        value *= 0.004 * lse / static_cast<double>(call.num_tokens);
      }
      RC_ASSERT(compare_gradient(token, "z gradient", expected, &z_gradient[first]) == std::string());
    }
  }));
}

TEST_CASE("sequence losses are means of balance losses") {
  CHECK(support::holds("every sequence on its own", 300, [] {
    Call call = draw_call(false);
    switchyard::SequenceShape const shape{support::draw(1, 40), support::draw(1, 5)};
    call.num_tokens = shape.seq_length * shape.batch_size;
    call.logits.clear();
    for (std::int64_t i = 0; i < call.num_tokens * call.num_experts; ++i) call.logits.push_back(draw_logit(false));
    RoutingMap const routing = route(call.config, call.view(), call.bias);
    auto const function = call.config.score_function;
    double expected = 0.0;
    Floats expected_gradient(call.logits.size());
    for (std::int64_t b = 0; b < shape.batch_size; ++b) {
      Call one = call;
      one.num_tokens = shape.seq_length;
      one.logits.clear();
      std::vector<std::int64_t> counts(static_cast<std::size_t>(call.num_experts));
      for (std::int64_t s = 0; s < shape.seq_length; ++s) {
        auto const token = static_cast<std::size_t>(s * shape.batch_size + b);
        auto const width = static_cast<std::size_t>(call.num_experts);
        one.logits.insert(one.logits.end(), &call.logits[token * width], &call.logits[token * width] + width);
        auto const k = static_cast<std::size_t>(call.config.top_k);
        for (std::size_t slot = 0; slot < k; ++slot)
          ++counts[static_cast<std::size_t>(routing.ids()[token * k + slot])];
      }
      switchyard::BalanceLoss const loss{0.01, call.config.top_k, shape.seq_length, shape.seq_length};
      expected += static_cast<double>(balance_loss(loss, loss_scores(function, one.view()), counts));
      float const share = 1.0F / static_cast<float>(shape.batch_size);
      Floats const gradient = balance_loss_backward(loss, function, one.view(), counts, share);
      auto const width = static_cast<std::size_t>(call.num_experts);
      for (std::size_t i = 0; i < gradient.size(); ++i)
        expected_gradient[(i / width * static_cast<std::size_t>(shape.batch_size) + static_cast<std::size_t>(b)) *
                              width +
                          i % width] = gradient[i];
    }
    expected /= static_cast<double>(shape.batch_size);
    auto const got = static_cast<double>(
        sequence_balance_loss(0.01, call.config.top_k, shape, loss_scores(function, call.view()), routing));
    RC_ASSERT(std::fabs(got - expected) <= kBound * expected);
    RC_ASSERT(sequence_balance_loss_backward(0.01, call.config.top_k, shape, function, call.view(), routing) ==
              expected_gradient);
  }));
}

TEST_CASE("Sinkhorn gives every token and every expert the same total") {
  CHECK(support::holds("row sums 1/T, column sums 1/E", 100, [] {
    int const experts = support::draw(2, 17);
    std::int64_t const tokens = support::draw(32, 100);
    Floats logits;
    for (std::int64_t i = 0; i < tokens * experts; ++i)
      logits.push_back(static_cast<float>(support::draw(-200, 201)) / 100.0F);
    auto const result = switchyard::sinkhorn(ConstTensorView::matrix(std::span<float const>(logits), tokens, experts));
    RC_ASSERT(result.converged);
    Reals columns(static_cast<std::size_t>(experts), 0.0);
    for (std::int64_t t = 0; t < tokens; ++t) {
      double row = 0.0;
      for (int e = 0; e < experts; ++e) {
        auto const value = static_cast<double>(result.balanced[static_cast<std::size_t>(t * experts + e)]);
        row += value;
        columns[static_cast<std::size_t>(e)] += value;
      }
      RC_ASSERT(std::fabs(row * static_cast<double>(tokens) - 1.0) < 1e-2);
    }
    for (double const column : columns) RC_ASSERT(std::fabs(column * experts - 1.0) < 1e-4);
  }));
}
