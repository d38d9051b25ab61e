// SPDX-License-Identifier: Apache-2.0
// The router: choices, ties, groups, roundings, NaNs and refusals on hand-worked tokens.
//
// Worked example: logits 1 3 2 0, top-2, softmax_post. Chosen: expert 1 (3), expert 2 (2). Weights: softmax(3, 2) =
// 1 / (1 + e^-1) = 0.7310586 and 0.2689414. With a sigmoid and logits 0 every score is exactly 1/2; biases 0 1/4 1/4
// -1/2 choose experts 1 and 2 (a tie, lower index first); the bias is not in the weights: 1/2 and 1/2 by the sum 1,
// times the scaling factor 2.5 = 1.25 each.
#include "switchyard/routing/router.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "support/error_text.hpp"
#include "switchyard/types/fingerprint.hpp"

using namespace switchyard;  // NOLINT(google-build-using-namespace): a test of this namespace
using support::contains;
using support::error_text;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
using Floats = std::vector<float>;
using Ids = std::vector<std::int32_t>;

ConstTensorView matrix(Floats const& values, int columns) {
  auto const rows = static_cast<std::int64_t>(values.size()) / columns;
  return ConstTensorView::matrix(std::span<float const>(values), rows, columns);
}

RouterConfig config_of(ScoreFunction function, int top_k) {
  RouterConfig config;
  config.score_function = function;
  config.top_k = top_k;
  return config;
}

RoutingMap route_one(RouterConfig const& config, Floats const& logits, Floats const& bias = {}) {
  return route(config, matrix(logits, static_cast<int>(logits.size())), bias);
}

Ids ids_of(RoutingMap const& routing) {
  return {routing.ids().begin(), routing.ids().end()};
}
Floats weights_of(RoutingMap const& routing) {
  return {routing.weights().begin(), routing.weights().end()};
}

std::string refusal(RouterConfig const& config, Floats const& logits, Floats const& bias = {}) {
  return error_text(ErrorCode::invalid_argument, [&] { return route_one(config, logits, bias); });
}

}  // namespace

TEST_CASE("the worked example: softmax after the choice") {
  RoutingMap const routing = route_one(config_of(ScoreFunction::softmax_post, 2), {1, 3, 2, 0});
  CHECK(ids_of(routing) == Ids{1, 2});
  CHECK(routing.weights()[0] == doctest::Approx(0.7310586).epsilon(1e-6));
  CHECK(routing.weights()[1] == doctest::Approx(0.2689414).epsilon(1e-6));
}

TEST_CASE("the worked example: a sigmoid with bias, normalised and scaled") {
  RouterConfig config = config_of(ScoreFunction::sigmoid, 2);
  config.normalisation = Normalisation::sum;
  config.scaling_factor = 2.5F;
  RoutingMap const routing = route_one(config, {0, 0, 0, 0}, {0, 0.25F, 0.25F, -0.5F});
  CHECK(ids_of(routing) == Ids{1, 2});
  CHECK(weights_of(routing) == Floats{1.25F, 1.25F});
}

TEST_CASE("softmax before the choice keeps the probabilities over all experts") {
  // Four equal logits: each probability is exactly 1/4.
  RoutingMap const routing = route_one(config_of(ScoreFunction::softmax_pre, 2), {7, 7, 7, 7});
  CHECK(ids_of(routing) == Ids{0, 1});
  CHECK(weights_of(routing) == Floats{0.25F, 0.25F});
}

TEST_CASE("equal values go to the lower index, whatever stands between them") {
  CHECK(ids_of(route_one(config_of(ScoreFunction::softmax_post, 3), {2, 5, 2, 5, 2})) == Ids{1, 3, 0});
  CHECK(ids_of(route_one(config_of(ScoreFunction::softmax_post, 2), {0.0F, -0.0F, 0.0F})) == Ids{0, 1});
}

TEST_CASE("all experts of a token can be chosen, and one expert is enough") {
  CHECK(ids_of(route_one(config_of(ScoreFunction::softmax_post, 3), {1, 2, 3})) == Ids{2, 1, 0});
  CHECK(weights_of(route_one(config_of(ScoreFunction::softmax_pre, 1), {5})) == Floats{1.0F});
  CHECK(weights_of(route_one(config_of(ScoreFunction::sigmoid, 1), {0})) == Floats{0.5F});
}

TEST_CASE("no tokens") {
  RoutingMap const routing = route(config_of(ScoreFunction::sigmoid, 2), matrix({}, 4));
  CHECK(routing.num_tokens() == 0);
  CHECK(routing.num_experts() == 4);
  CHECK(routing.top_k() == 2);
  CHECK(route_backward(config_of(ScoreFunction::sigmoid, 2), matrix({}, 4), routing, {}).empty());
}

TEST_CASE("groups: by the sum of two, by the largest, and the default top_k / group_topk") {
  // Groups {5 0} {4 4} {3 3} {1 9}: sums 5 8 6 10, maxima 5 4 3 9.
  Floats const logits{5, 0, 4, 4, 3, 3, 1, 9};
  RouterConfig config = config_of(ScoreFunction::softmax_post, 2);
  config.groups = GroupLimit{4, 2, 2};
  CHECK(ids_of(route_one(config, logits)) == Ids{7, 2});
  config.groups = GroupLimit{4, 2, 1};
  CHECK(ids_of(route_one(config, logits)) == Ids{7, 0});
  config.groups = GroupLimit{4, 2, 0};
  CHECK(ids_of(route_one(config, logits)) == Ids{7, 0});
  config.top_k = 4;
  CHECK(ids_of(route_one(config, logits)) == Ids{7, 2, 3, 6});
}

TEST_CASE("equal groups go to the lower index") {
  RouterConfig config = config_of(ScoreFunction::softmax_post, 1);
  config.groups = GroupLimit{3, 1, 1};
  CHECK(ids_of(route_one(config, {1, 2, 2, 0, 0, 2})) == Ids{1});
}

TEST_CASE("an eligible expert of score -inf comes before experts of other groups") {
  RouterConfig config = config_of(ScoreFunction::softmax_post, 2);
  config.groups = GroupLimit{2, 1, 1};
  CHECK(ids_of(route_one(config, {-kInf, 9, 3, 4})) == Ids{1, 0});
}

TEST_CASE("normalisation leaves a single weight alone unless told otherwise") {
  RouterConfig config = config_of(ScoreFunction::sigmoid, 1);
  config.normalisation = Normalisation::sum;
  CHECK(weights_of(route_one(config, {0, -1})) == Floats{0.5F});
  config.normalise_single = true;
  CHECK(weights_of(route_one(config, {0, -1})) == Floats{1.0F});
}

TEST_CASE("the Euclidean norm") {
  RouterConfig config = config_of(ScoreFunction::sigmoid, 4);
  config.normalisation = Normalisation::l2;
  CHECK(weights_of(route_one(config, {0, 0, 0, 0})) == Floats{0.5F, 0.5F, 0.5F, 0.5F});
}

TEST_CASE("scores that all vanish keep weight 0 instead of dividing by 0") {
  RouterConfig config = config_of(ScoreFunction::sigmoid, 2);
  config.normalisation = Normalisation::sum;
  config.epsilon = 0.0F;
  CHECK(weights_of(route_one(config, {-200, -200, -200})) == Floats{0.0F, 0.0F});
}

TEST_CASE("rounding logits or scores to bf16 makes ties, rounding weights does not change the choice") {
  RouterConfig config = config_of(ScoreFunction::softmax_post, 1);
  Floats const logits{1.0F, 1.00390625F};  // the second rounds to 1 in bf16
  CHECK(ids_of(route_one(config, logits)) == Ids{1});
  config.rounding.logits = DType::bf16;
  CHECK(ids_of(route_one(config, logits)) == Ids{0});
  config.rounding = RouterRounding{DType::f32, DType::bf16, DType::f32};
  CHECK(ids_of(route_one(config, logits)) == Ids{0});
  RouterConfig weights = config_of(ScoreFunction::sigmoid, 2);
  weights.rounding.weights = DType::bf16;
  RoutingMap const rounded = route_one(weights, {1.0F, 1.00390625F});
  CHECK(ids_of(rounded) == Ids{1, 0});
  CHECK(weights_of(rounded) == Floats{0.73046875F, 0.73046875F});
}

TEST_CASE("narrow logits are widened exactly") {
  std::vector<bf16_t> const logits{to_bf16(1.0F), to_bf16(3.0F), to_bf16(2.0F), to_bf16(0.0F)};
  RouterConfig const config = config_of(ScoreFunction::softmax_post, 2);
  CHECK(route(config, ConstTensorView::matrix(std::span<bf16_t const>(logits), 1, 4)) ==
        route_one(config, {1, 3, 2, 0}));
  std::vector<f16_t> const halves{to_f16(1.0F), to_f16(3.0F), to_f16(2.0F), to_f16(0.0F)};
  CHECK(route(config, ConstTensorView::matrix(std::span<f16_t const>(halves), 1, 4)) ==
        route_one(config, {1, 3, 2, 0}));
}

TEST_CASE("a NaN is refused by name or counts as the lowest value") {
  for (ScoreFunction const function : {ScoreFunction::softmax_pre, ScoreFunction::softmax_post, ScoreFunction::sigmoid,
                                       ScoreFunction::sqrt_softplus}) {
    RouterConfig config = config_of(function, 2);
    std::string const text = error_text(ErrorCode::invalid_argument, [&] {
      return route(config, matrix({1, 2, 3, 4, kNan, 6}, 3));
    });
    CHECK_MESSAGE(contains(text, "token 1, expert 1"), text);
    config.nan_policy = NanPolicy::lowest;
    RoutingMap const routing = route_one(config, {kNan, -3, kNan});
    CHECK(ids_of(routing) == Ids{1, 0});
    CHECK(routing.weights()[0] > 0.0F);
    CHECK(routing.weights()[1] == 0.0F);
    CHECK(weights_of(route_one(config, {kNan, kNan, kNan})) == Floats{0.0F, 0.0F});
  }
}

TEST_CASE("infinite logits: -inf has score 0, +inf only a sigmoid can use") {
  CHECK(weights_of(route_one(config_of(ScoreFunction::softmax_pre, 2), {-kInf, 4})) == Floats{1.0F, 0.0F});
  CHECK(weights_of(route_one(config_of(ScoreFunction::sigmoid, 2), {-kInf, kInf})) == Floats{1.0F, 0.0F});
  CHECK(contains(refusal(config_of(ScoreFunction::softmax_post, 1), {0, kInf}), "token 0, expert 1 is +inf"));
  CHECK(contains(refusal(config_of(ScoreFunction::sqrt_softplus, 1), {kInf, 0}), "token 0, expert 0 is +inf"));
}

TEST_CASE("a foreign choice keeps the own weights") {
  Floats const logits{0, 0, 0};
  Floats const selection{0.1F, 0.3F, 0.2F};
  RoutingMap const routing = route_by(config_of(ScoreFunction::sigmoid, 2), matrix(logits, 3), selection);
  CHECK(ids_of(routing) == Ids{1, 2});
  CHECK(weights_of(routing) == Floats{0.5F, 0.5F});
  Floats const broken{0.1F, 0.3F, kNan};
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [&] { return route_by(config_of(ScoreFunction::sigmoid, 1), matrix(logits, 3), broken); }),
                 "token 0, expert 2"));
}

TEST_CASE("refused configurations name the field and the way out") {
  Floats const logits{1, 2, 3, 4};
  RouterConfig const good = config_of(ScoreFunction::sigmoid, 2);
  auto const with = [&](auto change) {
    RouterConfig config = good;
    change(config);
    return refusal(config, logits);
  };
  CHECK(contains(with([](RouterConfig& c) { c.top_k = 5; }), "top_k 5 is outside [1, 4]"));
  CHECK(contains(with([](RouterConfig& c) { c.top_k = 0; }), "top_k 0"));
  CHECK(contains(with([](RouterConfig& c) { c.groups = GroupLimit{3, 1}; }), "3 equal groups"));
  CHECK(contains(with([](RouterConfig& c) { c.groups = GroupLimit{2, 3}; }), "group_topk 3"));
  CHECK(contains(with([](RouterConfig& c) { c.groups = GroupLimit{4, 1}; }), "top_k 2 exceeds the 1 experts"));
  CHECK(contains(with([](RouterConfig& c) { c.groups = GroupLimit{2, 1, 3}; }), "3 largest scores"));
  CHECK(contains(with([](RouterConfig& c) {
                   c.top_k = 1;
                   c.groups = GroupLimit{2, 2};
                 }),
                 "top_k / group_topk = 1 / 2"));
  CHECK(contains(with([](RouterConfig& c) { c.epsilon = -1.0F; }), "epsilon"));
  CHECK(contains(with([](RouterConfig& c) { c.scaling_factor = kInf; }), "scaling factor"));
  CHECK(contains(with([](RouterConfig& c) { c.rounding.scores = DType::f64; }), "scores to f64"));
}

TEST_CASE("refused shapes and biases") {
  Floats const logits{1, 2, 3, 4};
  RouterConfig const config = config_of(ScoreFunction::sigmoid, 2);
  CHECK(contains(error_text(ErrorCode::shape_mismatch,
                            [&] {
                              return route_one(config, logits, {1, 2});
                            }),
                 "2 entries for 4 experts"));
  CHECK(contains(refusal(config, logits, {0, kNan, 0, 0}), "expert 1 is nan"));
  CHECK(contains(refusal(config_of(ScoreFunction::softmax_post, 2), logits, {0, 0, 0, 0}), "softmax_post"));
  std::vector<double> const doubles(4);
  CHECK(contains(
      error_text(ErrorCode::shape_mismatch,
                 [&] { return route(config, ConstTensorView::matrix(std::span<double const>(doubles), 1, 4)); }),
      "f64"));
  RoutingMap const dropped = RoutingMap::from_topk(1, 4, 2, {1, -1}, {0.5F, 0.0F});
  Floats const gradient{1, 1};
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [&] { return route_backward(config, matrix(logits, 4), dropped, gradient); }),
                 "token 0, slot 1"));
}

TEST_CASE("gradients that are exact") {
  // sigmoid at 0: score 1/2, slope 1/4. Without normalisation the gradient is d_weight * scaling / 4.
  RouterConfig config = config_of(ScoreFunction::sigmoid, 2);
  config.scaling_factor = 2.0F;
  Floats const logits{0, 0, -5};
  Floats const d_weights{3, -1};
  RoutingMap const routing = route_one(config, logits);
  CHECK(route_backward(config, matrix(logits, 3), routing, d_weights) == Floats{1.5F, -0.5F, 0.0F});
  // softmax over two equal logits: p = 1/2, gradient p * (g - mean) with g = (6, -2), mean = 2.
  config.score_function = ScoreFunction::softmax_post;
  CHECK(route_backward(config, matrix(logits, 3), route_one(config, logits), d_weights) == Floats{2.0F, -2.0F, 0.0F});
  // softmax over four equal logits, one chosen: p = 1/4, g = (4, 0, 0, 0), mean = 1.
  RouterConfig const pre = config_of(ScoreFunction::softmax_pre, 1);
  Floats const equal{1, 1, 1, 1};
  Floats const four{4};
  CHECK(route_backward(pre, matrix(equal, 4), route_one(pre, equal), four) == Floats{0.75F, -0.25F, -0.25F, -0.25F});
}

namespace {

/// 64 tokens over 64 experts, logits in [-8, 8).
Floats synthetic_logits() {
  Floats logits(64 * 64);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // A multiplicative hash of the position, 16 bits of it: the same numbers everywhere.
    auto const hash = static_cast<std::uint32_t>(i + 1) * 2654435761u;
    logits[i] = (static_cast<float>(hash >> 16) - 32768.0F) / 4096.0F;
  }
  return logits;
}

/// Ids, bits of the weights and bits of the gradient of the sum of all weights times (slot + 1).
std::string digest_of(RouterConfig const& config) {
  Floats const logits = synthetic_logits();
  RoutingMap const routing = route(config, matrix(logits, 64));
  Floats d_weights(routing.ids().size());
  for (std::size_t i = 0; i < d_weights.size(); ++i)
    d_weights[i] = static_cast<float>(i % static_cast<std::size_t>(config.top_k) + 1);
  FingerprintBuilder builder;
  builder.add(0, routing.ids());
  for (std::size_t i = 0; i < routing.weights().size(); ++i)
    builder.add_at(1, i, __builtin_bit_cast(std::int32_t, routing.weights()[i]));
  Floats const d_logits = route_backward(config, matrix(logits, 64), routing, d_weights);
  for (std::size_t i = 0; i < d_logits.size(); ++i) builder.add_at(2, i, __builtin_bit_cast(std::int32_t, d_logits[i]));
  return builder.result().to_hex();
}

}  // namespace

TEST_CASE("the bits are the same under every compiler and flag set") {
  RouterConfig config = config_of(ScoreFunction::softmax_pre, 8);
  CHECK(digest_of(config) == "4e6d81cabfcff762");
  config.score_function = ScoreFunction::softmax_post;
  CHECK(digest_of(config) == "4e0cc8ac22e23008");
  config.score_function = ScoreFunction::sigmoid;
  config.normalisation = Normalisation::sum;
  config.scaling_factor = 2.5F;
  config.groups = GroupLimit{8, 4, 2};
  CHECK(digest_of(config) == "35bc30dae5c7c9cf");
  config.score_function = ScoreFunction::sqrt_softplus;
  config.normalisation = Normalisation::l2;
  config.rounding = RouterRounding{DType::bf16, DType::bf16, DType::f16};
  CHECK(digest_of(config) == "66b3e7e35cd1421b");
}
