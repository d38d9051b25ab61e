// SPDX-License-Identifier: Apache-2.0
// LoadBalancingLoss: the sum over layers, its gradients, and every misuse that a module-wide list would let pass.
//
// By hand: 2 layers of 2 experts, top-1, weight 1, 2 tokens. Layer 0: scores (1, 0) and (1/2, 1/2), counts 2 and 0, so
// means (3/4, 1/4) and dot 3/2. Layer 1: scores (1/4, 3/4) twice, counts 1 and 1, dot 1/4 + 3/4 = 1. Factor
// 2 * 1 / (2 layers * 2 tokens * 1) = 1/2: loss 1/2 * 5/2 = 5/4. Layer 0 alone: 2 / (2 * 1) * 3/2 = 3/2.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "support/error_text.hpp"
#include "switchyard/experts/load_balancing_loss.hpp"

namespace {

using Counts = std::vector<std::int64_t>;
using Scores = std::vector<float>;
using support::contains;
using switchyard::CountRounding;
using switchyard::ErrorCode;
using switchyard::LoadBalancingConfig;
using switchyard::LoadBalancingLoss;

LoadBalancingConfig two_layers() {
  LoadBalancingConfig config;
  config.num_experts = 2;
  config.top_k = 1;
  config.num_layers = 2;
  config.loss_weight = 1.0;
  return config;
}

Counts const kCounts0{2, 0};
Scores const kScores0{1, 0, 0.5F, 0.5F};
Counts const kCounts1{1, 1};
Scores const kScores1{0.25F, 0.75F, 0.25F, 0.75F};

std::string refusal(LoadBalancingConfig const& config) {
  return support::error_text(ErrorCode::invalid_argument, [&] { return LoadBalancingLoss(config).num_saved(); });
}

}  // namespace

TEST_CASE("the worked example, whatever the order of the layers") {
  LoadBalancingLoss losses(two_layers());
  losses.save(0, kCounts0, kScores0);
  losses.save(1, kCounts1, kScores1);
  CHECK(losses.num_saved() == 2);
  CHECK(losses.loss() == 1.25F);
  CHECK(losses.layer_loss(0) == 1.5F);
  CHECK(losses.layer_loss(1) == 1.0F);
  losses.clear();
  CHECK(losses.num_saved() == 0);
  losses.save(1, kCounts1, kScores1);
  losses.save(0, kCounts0, kScores0);
  CHECK(losses.loss() == 1.25F);
  // At the scores of a token: factor * count / tokens = 1/2 * (2, 0) / 2; at logits p * (g - <g, p>).
  CHECK(losses.score_gradient(0) == Scores{0.5F, 0});
  CHECK(losses.score_gradient(0, 4.0F) == Scores{2, 0});
  CHECK(losses.logit_gradient(0) == Scores{0, 0, 0.125F, -0.125F});
  CHECK(losses.logit_gradient(1) == Scores{0, 0, 0, 0});
}

TEST_CASE("stages of a pipeline add up to the model's loss") {
  LoadBalancingConfig whole = two_layers();
  LoadBalancingConfig stage = whole;
  stage.pipeline_stages = 2;
  CHECK(stage.layers_per_stage() == 1);
  LoadBalancingLoss first(stage);
  LoadBalancingLoss second(stage);
  first.save(0, kCounts0, kScores0);
  second.save(0, kCounts1, kScores1);
  CHECK(first.loss() + second.loss() == 1.25F);
  whole.layers_per_virtual_stage = 1;
  LoadBalancingLoss chunk(whole);
  chunk.save(0, kCounts0, kScores0);
  CHECK(chunk.loss() == first.loss());
}

TEST_CASE("two objects know nothing of each other, copies are their own, and no tokens give 0") {
  LoadBalancingLoss a(two_layers());
  LoadBalancingLoss b(two_layers());
  Scores scores = kScores0;
  a.save(0, kCounts0, scores);
  scores.assign(4, 0.0F);
  a.save(1, kCounts1, kScores1);
  CHECK(b.num_saved() == 0);
  CHECK(a.loss() == 1.25F);
  b.save(0, Counts{0, 0}, {});
  b.save(1, Counts{0, 0}, {});
  CHECK(b.loss() == 0.0F);
  CHECK(b.logit_gradient(1).empty());
}

TEST_CASE("the logit gradient is the slope of the loss") {
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> uniform(-2, 2);
  int const experts = 5;
  std::vector<double> logits(3 * 5);
  for (double& logit : logits) logit = uniform(random);
  Counts const counts{2, 0, 3, 1, 0};
  LoadBalancingConfig config;
  config.num_experts = experts;
  config.top_k = 2;
  config.num_layers = 3;
  config.pipeline_stages = 3;
  config.loss_weight = 7.0;
  auto const softmax = [&](std::vector<double> const& z) {
    Scores scores(z.size());
    for (std::size_t first = 0; first < z.size(); first += 5) {
      double sum = 0;
      for (std::size_t e = first; e < first + 5; ++e) sum += std::exp(z[e]);
      for (std::size_t e = first; e < first + 5; ++e) scores[e] = static_cast<float>(std::exp(z[e]) / sum);
    }
    return scores;
  };
  // The loss in fp64, written from the formula.
  auto const loss = [&](std::vector<double> const& z) {
    auto const scores = softmax(z);
    double dot = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      double sum = 0;
      std::size_t const first = i / 5 * 5;
      for (std::size_t e = first; e < first + 5; ++e) sum += std::exp(z[e]);
      dot += static_cast<double>(counts[i % 5]) * std::exp(z[i]) / sum / 3;
    }
    return 5 * 7.0 / (3 * 3 * 2) * dot;
  };
  LoadBalancingLoss losses(config);
  losses.save(0, counts, softmax(logits));
  CHECK(std::fabs(static_cast<double>(losses.loss()) - loss(logits)) < 1e-5);
  auto const gradient = losses.logit_gradient(0);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    auto up = logits;
    auto down = logits;
    up[i] += 1e-5;
    down[i] -= 1e-5;
    CAPTURE(i);
    CHECK(std::fabs(static_cast<double>(gradient[i]) - (loss(up) - loss(down)) / 2e-5) < 1e-5);
  }
}

TEST_CASE("bf16 counts are the peer's") {
  LoadBalancingConfig config = two_layers();
  config.num_layers = 1;
  Scores scores(2 * 259, 0.5F);
  LoadBalancingLoss exact(config);
  exact.save(0, Counts{257, 2}, scores);
  CHECK(exact.loss() == 2.0F / 259.0F * (257.0F * 0.5F + 2.0F * 0.5F));
  config.count_rounding = CountRounding::megablocks_bf16;
  LoadBalancingLoss rounded(config);
  rounded.save(0, Counts{257, 2}, scores);
  CHECK(rounded.loss() == 2.0F / 259.0F * (256.0F * 0.5F + 2.0F * 0.5F));
}

TEST_CASE("a loss over missing or repeated layers is refused, and says which") {
  LoadBalancingLoss losses(two_layers());
  CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { return losses.loss(); }),
                 "0 of 2 layers have saved for the load-balancing loss, layer 0 has not"));
  losses.save(0, kCounts0, kScores0);
  CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { return losses.loss(); }),
                 "1 of 2 layers have saved for the load-balancing loss, layer 1 has not"));
  CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { return losses.score_gradient(1); }),
                 "layer 1 of 2 has saved nothing"));
  CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { return losses.layer_loss(1); }),
                 "layer 1 of 2 has saved nothing"));
  auto const save = [&](ErrorCode code, int layer, Counts const& counts, Scores const& scores) {
    return support::error_text(code, [&] {
      losses.save(layer, counts, scores);
      return 0;
    });
  };
  CHECK(contains(save(ErrorCode::invalid_argument, 0, kCounts0, kScores0), "layer 0 saves"));
  CHECK(contains(save(ErrorCode::invalid_argument, 2, kCounts0, kScores0), "over 2 layers"));
  CHECK(contains(save(ErrorCode::invalid_argument, -1, kCounts0, kScores0), "layer -1 saves"));
  CHECK(contains(save(ErrorCode::shape_mismatch, 1, Counts{1}, kScores0), "1 counts and 4 scores"));
  CHECK(contains(save(ErrorCode::shape_mismatch, 1, kCounts1, Scores(3)), "2 counts and 3 scores"));
  CHECK(
      contains(save(ErrorCode::shape_mismatch, 1, Counts{1, 0}, Scores(2)), "layer 1 saves 1 tokens, layer 0 saved 2"));
  CHECK(contains(save(ErrorCode::invalid_argument, 1, Counts{2, 1}, kScores1), "3 choices of 2 tokens with top-1"));
  CHECK(contains(save(ErrorCode::invalid_argument, 1, Counts{-1, 1}, kScores1), "layer 1 counts -1 tokens"));
  CHECK(losses.num_saved() == 1);
  losses.save(1, kCounts1, kScores1);
  CHECK(losses.loss() == 1.25F);
}

TEST_CASE("a model that cannot be is refused") {
  CHECK(refusal(two_layers()) == "<no error>");
  auto config = two_layers();
  config.pipeline_stages = 3;
  CHECK(contains(refusal(config), "2 layers on 3 pipeline stages"));
  config.layers_per_virtual_stage = 3;
  CHECK(contains(refusal(config), "3 layers per stage of a model with 2 layers"));
  config = two_layers();
  config.num_experts = 0;
  CHECK(contains(refusal(config), "0 experts"));
  config = two_layers();
  config.loss_weight = std::numeric_limits<double>::infinity();
  CHECK(contains(refusal(config), "loss weight inf"));
}
