// SPDX-License-Identifier: Apache-2.0
// Balance, sequence, z and batched losses, the count window, the bias update and Sinkhorn on numbers that are exact.
//
// Worked example: two tokens, two experts, scores 3/4 1/4 and 1/4 3/4, one choice each, counts 1 1. Score sums are 1 1,
// their dot product with the counts is 2, the factor is coefficient * 2 / (1 * 2 * 2): the loss is the coefficient.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "support/error_text.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/routing/bias_update.hpp"
#include "switchyard/routing/losses.hpp"
#include "switchyard/routing/sinkhorn.hpp"

using namespace switchyard;  // NOLINT(google-build-using-namespace): a test of this namespace
using support::contains;
using support::error_text;

namespace {

using Floats = std::vector<float>;
using Counts = std::vector<std::int64_t>;

ConstTensorView matrix(Floats const& values, int columns) {
  auto const rows = static_cast<std::int64_t>(values.size()) / columns;
  return ConstTensorView::matrix(std::span<float const>(values), rows, columns);
}

/// The definition of lane32, as a warp does it: every lane adds its partner's value at every distance.
float lane32_by_shuffles(Floats const& values) {
  float lanes[32] = {};
  for (std::size_t i = 0; i < values.size(); ++i) lanes[i % 32] += values[i];
  for (std::size_t distance = 16; distance > 0; distance /= 2) {
    float next[32];
    for (std::size_t lane = 0; lane < 32; ++lane) next[lane] = lanes[lane] + lanes[lane ^ distance];
    std::copy(next, next + 32, lanes);
  }
  for (float const lane : lanes) CHECK(lane == lanes[0]);
  return lanes[0];
}

/// Values of both signs and exponents from 2^-20 to 2^19, so that almost every order of addition rounds differently.
Floats wide_values(std::size_t count) {
  Floats values(count);
  std::uint32_t state = 12345;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value =
        std::ldexp(static_cast<float>(static_cast<int>(state >> 8)) - 8388608.0F, static_cast<int>(state % 40) - 43);
  }
  return values;
}

float left_to_right(Floats const& values) {
  float sum = 0.0F;
  for (float const value : values) sum += value;
  return sum;
}

}  // namespace

TEST_CASE("lane32 is the warp's order, at every length around a full set of lanes") {
  int differs_from_sequential = 0;
  for (std::size_t const count : {0u, 1u, 2u, 31u, 32u, 33u, 63u, 64u, 65u, 100u, 1000u}) {
    Floats const values = wide_values(count);
    float const sum = hd::lane32_sum(static_cast<std::int64_t>(count), hd::Elements{values.data()});
    CAPTURE(count);
    CHECK(sum == lane32_by_shuffles(values));
    differs_from_sequential += sum != left_to_right(values) ? 1 : 0;
  }
  CHECK(differs_from_sequential >= 5);  // otherwise the data could not tell the orders apart
}

TEST_CASE("sums over tokens are lane32 too") {
  // One expert, count 1 and a factor of 1 leave the bare sum over tokens.
  Floats const values = wide_values(1000);
  BalanceLoss const loss{1.0, 1, 1, 1};
  Counts const one{1};
  float const sum = balance_loss(loss, values, one);
  CHECK(sum == lane32_by_shuffles(values));
  CHECK(sum != left_to_right(values));
  // A masked token keeps its place: the others stay in their lanes.
  std::vector<std::uint8_t> mask(values.size(), 1);
  mask[3] = 0;
  Floats without = values;
  without[3] = 0.0F;
  CHECK(balance_loss(loss, values, one, mask) == lane32_by_shuffles(without));
}

TEST_CASE("the worked example, and no tokens at all") {
  Floats const scores{0.75F, 0.25F, 0.25F, 0.75F};
  Counts const counts{1, 1};
  CHECK(balance_loss(BalanceLoss{0.5, 1, 2, 2}, scores, counts) == 0.5F);
  CHECK(balance_loss(BalanceLoss{0.5, 1, 0, 0}, Floats{}, Counts{0, 0}) == 0.0F);
  CHECK(balance_loss_backward(BalanceLoss{0.5, 1, 0, 0}, ScoreFunction::sigmoid, matrix({}, 2), counts).empty());
}

TEST_CASE("counts of a routing") {
  RoutingMap const routing = RoutingMap::from_topk(3, 4, 2, {0, 2, 2, -1, 3, 2}, {1, 1, 1, 1, 1, 1});
  CHECK(tokens_per_expert(routing) == Counts{1, 0, 3, 1});
}

TEST_CASE("loss scores: softmax for both softmax kinds, the others by their sum") {
  Floats const zeros{0, 0, 0, 0};
  for (ScoreFunction const function :
       {ScoreFunction::softmax_pre, ScoreFunction::softmax_post, ScoreFunction::sigmoid, ScoreFunction::sqrt_softplus})
    CHECK(loss_scores(function, matrix(zeros, 4)) == Floats{0.25F, 0.25F, 0.25F, 0.25F});
}

TEST_CASE("the gradient of the balance loss, exact") {
  // p = 1/4 everywhere, gradient at the scores g_e = factor * n_e = n_e (factor 1), mean 1: p * (g - 1) = (n - 1) / 4.
  Floats const zeros{0, 0, 0, 0};
  Counts const counts{4, 0, 0, 0};
  BalanceLoss const loss{0.25, 1, 1, 1};
  CHECK(balance_loss_backward(loss, ScoreFunction::softmax_pre, matrix(zeros, 4), counts) ==
        Floats{0.75F, -0.25F, -0.25F, -0.25F});
  CHECK(balance_loss_backward(loss, ScoreFunction::softmax_pre, matrix(zeros, 4), counts, 2.0F) ==
        Floats{1.5F, -0.5F, -0.5F, -0.5F});
  std::vector<std::uint8_t> const masked{0};
  CHECK(balance_loss_backward(loss, ScoreFunction::softmax_pre, matrix(zeros, 4), counts, 1.0F, masked) == zeros);
}

TEST_CASE("sequences are separate: batch fastest") {
  // Tokens in order (s0 b0) (s0 b1) (s1 b0) (s1 b1). Sequence 0 chooses expert 0 twice, sequence 1 experts 0 and 1.
  RoutingMap const routing = RoutingMap::from_topk(4, 2, 1, {0, 0, 0, 1}, {1, 1, 1, 1});
  Floats const scores{1, 0, 0.5F, 0.5F, 1, 0, 0.5F, 0.5F};
  // Sequence 0: sums (2, 0), counts (2, 0): 4 * 2/4 = 2. Sequence 1: sums (1, 1), counts (1, 1): 2 * 2/4 = 1.
  CHECK(sequence_balance_loss(1.0, 1, SequenceShape{2, 2}, scores, routing) == 1.5F);
  // As one sequence of four: sums (3, 1), counts (3, 1): 10 * 2/16.
  CHECK(sequence_balance_loss(1.0, 1, SequenceShape{4, 1}, scores, routing) == 1.25F);
  CHECK(contains(error_text(ErrorCode::shape_mismatch,
                            [&] {
                              return sequence_balance_loss(1.0, 1, SequenceShape{3, 1}, scores, routing);
                            }),
                 "do not cover the 4 tokens"));
}

TEST_CASE("z loss: one expert makes log sum exp the logit itself") {
  Floats const logits{3, 4};
  CHECK(z_loss(0.5, matrix(logits, 1)) == 6.25F);
  CHECK(z_loss_backward(0.5, matrix(logits, 1)) == Floats{1.5F, 2.0F});
  std::vector<std::uint8_t> const first_only{1, 0};
  CHECK(z_loss(0.5, matrix(logits, 1), first_only) == 4.5F);
  CHECK(z_loss_backward(0.5, matrix(logits, 1), 2.0F, first_only) == Floats{6.0F, 0.0F});
  CHECK(z_loss(0.5, matrix({}, 1)) == 0.0F);
  float const minus_infinity = -std::numeric_limits<float>::infinity();
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [&] {
                              return z_loss(1.0, matrix({0, minus_infinity}, 1));
                            }),
                 "token 1 is -inf"));
}

TEST_CASE("the window weighs tokens or steps") {
  CountWindow window(2);
  window.add(Counts{6, 2}, 8);
  window.add(Counts{0, 2}, 2);
  CHECK(Counts(window.counts().begin(), window.counts().end()) == Counts{6, 4});
  CHECK(window.loss(0.1, 1, 2, CountWindow::Weighing::by_token) == BalanceLoss{0.1, 1, 10, 2});
  CHECK(window.loss(0.1, 1, 2, CountWindow::Weighing::by_step) == BalanceLoss{0.1, 1, 4, 2});
  CHECK(contains(error_text(ErrorCode::shape_mismatch,
                            [&] {
                              window.add(Counts{1}, 1);
                              return 0;
                            }),
                 "1 expert counts"));
}

TEST_CASE("MegaBlocks' batched loss, with exact counts and with the peer's bf16 ones") {
  // One layer, two tokens, scores 1/2: means 1/2. Factor 2 * 1 / (1 * 2 * 1) = 1. 257 is a tie in bf16 and becomes 256.
  Counts const counts{257, 255};
  Floats const scores{0.5F, 0.5F, 0.5F, 0.5F};
  std::vector<LayerBalance> const layers{{counts, scores}};
  CHECK(batched_balance_loss(layers, 1, 1, 1.0) == 256.0F);
  CHECK(batched_balance_loss(layers, 1, 1, 1.0, CountRounding::megablocks_bf16) == 255.5F);
  CHECK(batched_balance_loss_gradient(layers, 0, 1, 1, 1.0) == Floats{128.5F, 127.5F});
  std::vector<LayerBalance> const two{{counts, scores}, {counts, scores}};
  CHECK(batched_balance_loss(two, 4, 1, 1.0) == 128.0F);  // two of four layers: half the mean over all
  CHECK(batched_balance_loss({}, 4, 1, 1.0) == 0.0F);
  Counts const other{1, 2, 3};
  std::vector<LayerBalance> const uneven{{counts, scores}, {other, scores}};
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return batched_balance_loss(uneven, 2, 1, 1.0); }),
                 "layer 1 has 3 counts"));
}

TEST_CASE("the bias follows the sign of the shortfall, in integers") {
  Floats bias{0.5F, 0.5F, 0.5F};
  update_selection_bias(bias, Counts{3, 5, 4}, 0.25F);
  CHECK(bias == Floats{0.75F, 0.25F, 0.5F});
  bias = {0, 0, 0};
  update_selection_bias(bias, Counts{1, 1, 0}, 1.0F);  // the mean 2/3 lies between the counts
  CHECK(bias == Floats{-1.0F, -1.0F, 1.0F});
  // In fp32 or bf16 these counts and their mean would round to one number.
  std::int64_t const large = std::int64_t{1} << 60;
  bias = {0, 0, 0};
  update_selection_bias(bias, Counts{large, large + 1, large + 2}, 1.0F);
  CHECK(bias == Floats{1.0F, 0.0F, -1.0F});
}

TEST_CASE("a refused bias update leaves the bias alone") {
  Floats bias{1, 2};
  auto const refused = [&](Counts const& counts, float rate) {
    return error_text(ErrorCode::invalid_argument, [&] {
      update_selection_bias(bias, counts, rate);
      return 0;
    });
  };
  CHECK(contains(refused({3, -1}, 1.0F), "expert 1 is -1"));
  CHECK(contains(refused({3, 1}, -1.0F), "rate -1"));
  refused({std::numeric_limits<std::int64_t>::max(), 1}, 1.0F);
  CHECK(bias == Floats{1, 2});
}

TEST_CASE("Sinkhorn: equal logits are balanced at once, large ones are refused, the bound is reported") {
  Floats const zeros{0, 0, 0, 0};
  SinkhornResult const result = sinkhorn(matrix(zeros, 2));
  CHECK(result.converged);
  CHECK(result.iterations == 1);
  CHECK(result.balanced == Floats{0.25F, 0.25F, 0.25F, 0.25F});
  CHECK(sinkhorn(matrix({}, 2)).converged);
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [&] {
                              return sinkhorn(matrix({0, 89}, 2));
                            }),
                 "token 0, expert 1 overflows"));
  Floats const uneven{3, 0, 0, 1};
  SinkhornResult const bounded = sinkhorn(matrix(uneven, 2), SinkhornOptions{0.0F, 1});
  CHECK_FALSE(bounded.converged);
  CHECK(bounded.iterations == 1);
  RouterConfig config;
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [&] {
                              return route_sinkhorn(config, matrix(uneven, 2), SinkhornOptions{0.0F, 1});
                            }),
                 "did not reach tolerance"));
}

TEST_CASE("Sinkhorn sends tokens that all prefer one expert to different ones") {
  // Both tokens prefer expert 0, the second one less so: balanced, it gets expert 1.
  Floats const logits{4, 0, 3, 0};
  RouterConfig config;
  config.score_function = ScoreFunction::sigmoid;
  CHECK(tokens_per_expert(route(config, matrix(logits, 2))) == Counts{2, 0});
  CHECK(tokens_per_expert(route_sinkhorn(config, matrix(logits, 2))) == Counts{1, 1});
}
