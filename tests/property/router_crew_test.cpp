// SPDX-License-Identifier: Apache-2.0
// A crew of 32 lanes, as a warp is, against a thread alone: choices, weights, gradients and log-sum-exp bit for bit.
//
// By hand: values 1 -0 1 +0 with top-3. Lanes 0 to 3 offer one each; the largest is 1, first of lane 0, then of lane 2;
// then -0 of lane 1, which equals +0 and has the lower index: experts 0, 2, 1.
#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "support/emulated_lanes.hpp"
#include "switchyard/hd/router_gradient.hpp"
#include "switchyard/hd/router_lanes.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

namespace hd = switchyard::hd;
using switchyard::DType;
using switchyard::Normalisation;
using switchyard::ScoreFunction;
using Floats = std::vector<float>;
using Lanes = hd::LaneCrew<support::EmulatedLanes>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Token {
  Floats logits;
  Floats bias;       ///< empty: none
  Floats selection;  ///< empty: none
  Floats d_weights;
};

struct Result {
  std::vector<std::int32_t> ids;
  std::vector<std::uint32_t> weights;
  std::vector<std::uint32_t> d_logits;
  std::uint32_t log_sum = 0;
  friend bool operator==(Result const&, Result const&) = default;
};

std::vector<std::uint32_t> bits_of(Floats const& values) {
  std::vector<std::uint32_t> bits;
  for (float const value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

std::string text_of(Result const& result) {
  std::ostringstream text;
  for (std::size_t k = 0; k < result.ids.size(); ++k)
    text << result.ids[k] << ':' << std::hex << result.weights[k] << std::dec << ' ';
  text << "log-sum-exp " << std::hex << result.log_sum;
  return text.str();
}

/// All memory starts as NaNs and -9s.
template <typename Crew>
Result run(Crew const& crew, hd::RouterStep const& step, Token const& token) {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  auto const experts = static_cast<std::size_t>(step.num_experts);
  auto const top_k = static_cast<std::size_t>(step.top_k);
  Floats scores(experts, nan), biased(experts, nan), values(experts + 64, nan), weights(top_k, nan);
  std::vector<std::int32_t> group_ids(experts + 64, -9), ids(top_k, -9);
  hd::RouterScratch const scratch{scores.data(), biased.data(), values.data(), group_ids.data()};
  hd::RouterChoice const choice{token.bias.empty() ? nullptr : token.bias.data(),
                                token.selection.empty() ? nullptr : token.selection.data()};
  hd::route_token(crew, step, token.logits.data(), choice, scratch, ids.data(), weights.data());
  Floats gradient(top_k, nan), chosen(top_k, nan), probabilities = token.logits, d_logits(experts, nan);
  hd::RouterGradientScratch const backward{gradient.data(), chosen.data(), probabilities.data()};
  hd::route_token_gradient(crew, step, probabilities.data(), ids.data(), token.d_weights.data(), backward,
                           d_logits.data());
  float const log_sum = hd::log_sum_exp(crew, token.logits.data(), step.num_experts);
  return {ids, bits_of(weights), bits_of(d_logits), std::bit_cast<std::uint32_t>(log_sum)};
}

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : rng_(seed, 77) {}
  int below(int bound) { return static_cast<int>(rng_.below(next_++, static_cast<std::uint64_t>(bound))); }
  float uniform() { return static_cast<float>(below(1 << 20)) / static_cast<float>(1 << 19) - 1.0F; }
  bool chance(int percent) { return below(100) < percent; }

 private:
  switchyard::CounterRng rng_;
  std::uint64_t next_ = 0;
};

Floats draw_logits(Draw& draw, int experts) {
  constexpr float kSpecial[] = {-kInfinity, -0.0F, 0.0F, 1e-45F, -1e-39F, 88.0F, -104.0F, 3e38F};
  int const kind = draw.below(4);
  Floats logits;
  for (int e = 0; e < experts; ++e) {
    float value = draw.uniform() * 9.0F;
    if (kind == 1) value = static_cast<float>(draw.below(5) - 2) * 0.5F;  // ties
    if (kind == 2 && draw.chance(40)) value = kSpecial[draw.below(8)];
    if (kind == 3) value = draw.chance(90) ? -kInfinity : value;
    logits.push_back(value);
  }
  return logits;
}

hd::RouterStep draw_step(Draw& draw) {
  constexpr int kExperts[] = {1, 2, 3, 8, 31, 32, 33, 64, 130, 256, 1030};
  constexpr DType kDTypes[] = {DType::f32, DType::f32, DType::bf16, DType::f16};
  int const experts = kExperts[draw.below(11)];
  hd::RouterStep step{static_cast<ScoreFunction>(draw.below(4)),
                      static_cast<Normalisation>(draw.below(3)),
                      kDTypes[draw.below(4)],
                      kDTypes[draw.below(4)],
                      experts,
                      1 + draw.below(experts < 40 ? experts : 40),
                      1,
                      1,
                      1,
                      draw.chance(50) ? 1e-20F : 0.25F,
                      draw.chance(50) ? 1.0F : 2.5F};
  int const groups = 1 << draw.below(5);
  if (experts % groups != 0 || draw.chance(40)) return step;
  int const size = experts / groups;
  step.num_groups = groups;
  step.group_topk = 1 + draw.below(groups);
  step.scores_per_group = 1 + draw.below(draw.chance(50) && size > 1 ? 2 : size);
  if (step.top_k > step.group_topk * size) step.top_k = step.group_topk * size;
  return step;
}

Token draw_token(Draw& draw, hd::RouterStep const& step) {
  Token token;
  token.logits = draw_logits(draw, step.num_experts);
  for (int k = 0; k < step.top_k; ++k) token.d_weights.push_back(draw.uniform());
  int const decides = draw.below(4);
  if (decides == 1 && step.score_function != ScoreFunction::softmax_post)
    for (int e = 0; e < step.num_experts; ++e) token.bias.push_back(draw.uniform() * 0.25F);
  if (decides == 2) token.selection = draw_logits(draw, step.num_experts);
  if (decides == 2 && draw.chance(30)) token.selection.front() = kInfinity;
  return token;
}

}  // namespace

TEST_CASE("the worked example: ties and both zeros") {
  hd::RouterStep const step{
      ScoreFunction::softmax_post, Normalisation::none, DType::f32, DType::f32, 4, 3, 1, 1, 1, 0.0F, 1.0F};
  Token const token{{1.0F, -0.0F, 1.0F, 0.0F}, {}, {}, {1.0F, 0.0F, 0.0F}};
  CHECK(run(Lanes{}, step, token).ids == std::vector<std::int32_t>{0, 2, 1});
  CHECK(run(hd::Alone{}, step, token).ids == std::vector<std::int32_t>{0, 2, 1});
}

TEST_CASE("every token of up to four experts and four values, every top-k and grouping") {
  constexpr float kValues[] = {-kInfinity, -0.0F, 0.0F, 1.0F};
  for (int experts = 1; experts <= 4; ++experts)
    for (int groups = 1; groups <= experts; ++groups) {
      if (experts % groups != 0) continue;
      for (int top_k = 1; top_k <= experts; ++top_k)
        for (int code = 0; code < 1 << (2 * experts); ++code) {
          int const chosen = (top_k + experts / groups - 1) / (experts / groups);
          hd::RouterStep const step{ScoreFunction::softmax_post,
                                    Normalisation::none,
                                    DType::f32,
                                    DType::f32,
                                    experts,
                                    top_k,
                                    groups,
                                    chosen,
                                    1,
                                    0.0F,
                                    1.0F};
          Token token;
          for (int e = 0; e < experts; ++e) token.logits.push_back(kValues[code >> (2 * e) & 3]);
          token.d_weights.assign(static_cast<std::size_t>(top_k), 0.5F);
          Result const alone = run(hd::Alone{}, step, token);
          Result const lanes = run(Lanes{}, step, token);
          INFO(experts << " experts, " << groups << " groups, code " << code << ": " << text_of(alone) << " | "
                       << text_of(lanes));
          REQUIRE(alone == lanes);
        }
    }
}

TEST_CASE("random tokens: scores, roundings, groups, biases, foreign choices, infinities and subnormals") {
  for (std::uint64_t seed = 0; seed < 6000; ++seed) {
    Draw draw(seed);
    hd::RouterStep const step = draw_step(draw);
    Token const token = draw_token(draw, step);
    Result const alone = run(hd::Alone{}, step, token);
    Result const lanes = run(Lanes{}, step, token);
    INFO("seed " << seed << ", " << step.num_experts << " experts, top " << step.top_k << ", " << step.num_groups
                 << " groups: alone " << text_of(alone) << " | lanes " << text_of(lanes));
    REQUIRE(alone == lanes);
  }
}
