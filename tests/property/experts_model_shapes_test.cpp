// SPDX-License-Identifier: Apache-2.0
// Whole layers in the shapes of published models, scaled down: experts by 8 (never below 4), hidden and intermediate
// sizes by 128 for the largest ones and 64 for gpt-oss, so that odd sizes stay odd; top-k, activation, biases and
// router weights on the input as in the model. Every way to move rows, in several grids, EP 3 among them where experts
// do not divide, under routings that are uniform, hot, thinned out, or name an expert twice; ranks hold no token, one,
// or several. Compared with the dense answer bit for bit.
//
// By hand, the hot routing: every first choice is expert 0 and choice k is expert k, so with top-2 of 8 experts on 4
// ranks rank 0 computes everything and the others take part with no rows.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "support/layer_cases.hpp"

namespace {

using support::DType;
using support::ExpertOperands;
using support::LayerBatch;
using support::LayerCase;
using switchyard::Activation;
using switchyard::ActivationSpec;
using switchyard::GateLayout;
namespace cpu = switchyard::cpu;
using cpu::PrepareKind;

struct ModelShape {
  char const* name;
  int experts;
  int top_k;
  std::int64_t hidden;
  std::int64_t intermediate;
  ActivationSpec activation{Activation::silu, GateLayout::split};
  bool biased = false;
  bool weights_on_input = false;
};

ActivationSpec const kGptOss{Activation::swigluoai, GateLayout::interleaved};
ActivationSpec const kSilu{Activation::silu, GateLayout::split};

std::vector<ModelShape> const kShapes = {
    {"DeepSeek-V3", 32, 8, 56, 16, kSilu, false, false},     {"DeepSeek-V4-Pro", 48, 6, 56, 24, kSilu, false, false},
    {"Kimi-K2", 48, 8, 56, 16, kSilu, false, false},         {"Qwen3-235B-A22B", 16, 8, 32, 12, kSilu, false, false},
    {"Qwen3-30B-A3B", 16, 8, 16, 6, kSilu, false, false},    {"Qwen3-Next-80B-A3B", 64, 10, 16, 4, kSilu, false, false},
    {"gpt-oss-120b", 16, 4, 45, 45, kGptOss, true, false},   {"gpt-oss-20b", 4, 4, 45, 45, kGptOss, true, false},
    {"Mixtral 8x7B", 8, 2, 32, 112, kSilu, false, false},    {"Mixtral 8x22B", 8, 2, 48, 128, kSilu, false, false},
    {"GLM-4.5", 20, 8, 40, 12, kSilu, false, false},         {"GLM-4.5-Air", 16, 8, 32, 11, kSilu, false, false},
    {"Llama-4 Maverick", 16, 1, 40, 64, kSilu, false, true}, {"Llama-4 Scout", 4, 1, 40, 64, kSilu, false, true},
    {"MiniMax-M2", 32, 8, 24, 12, kSilu, false, false},      {"DeepSeek-V2-Lite", 8, 6, 16, 11, kSilu, false, false},
};

enum class Style { uniform, hot, thinned, doubled };

LayerCase case_of(ModelShape const& shape, PrepareKind kind, int ep, int tp) {
  LayerCase c;
  c.kind = kind;
  c.mlp.hidden = shape.hidden;
  c.mlp.intermediate = shape.intermediate;
  c.mlp.num_local_experts = shape.experts;
  c.mlp.dtype = DType::bf16;
  c.mlp.activation = shape.activation;
  c.mlp.rounding = switchyard::ExpertRounding::every_store(DType::bf16);
  c.options.grid = {tp, ep};
  c.options.hidden = shape.hidden;
  c.options.dtype = c.mlp.dtype;
  c.options.max_tokens_per_rank = 14;  // 7 tokens, each of which may name an expert twice
  c.layer.global_num_experts = shape.experts;
  c.layer.router_weight_on_input = shape.weights_on_input;
  c.top_k = shape.top_k;
  c.biased = shape.biased;
  return c;
}

/// One token's experts.
std::vector<std::int32_t> choices(std::mt19937_64& random, LayerCase const& c, Style style) {
  std::vector<std::int32_t> experts(static_cast<std::size_t>(c.mlp.num_local_experts));
  std::iota(experts.begin(), experts.end(), 0);
  if (style != Style::hot) std::shuffle(experts.begin(), experts.end(), random);
  experts.resize(static_cast<std::size_t>(c.top_k));
  if (style == Style::doubled && c.top_k > 1) experts.back() = experts.front();
  for (auto& expert : experts)
    if (style == Style::thinned && random() % 2 == 0) expert = -1;
  return experts;
}

LayerBatch batch_of(LayerCase const& c, int rank, Style style) {
  std::mt19937_64 random(c.seed * 7919 + static_cast<std::uint64_t>(rank) * 31 + static_cast<std::uint64_t>(style));
  std::int64_t const tokens = std::array<std::int64_t, 4>{3, 0, 1, 7}[static_cast<std::size_t>(rank) % 4];
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  for (std::int64_t token = 0; token < tokens; ++token)
    for (std::int32_t const expert : choices(random, c, style)) {
      ids.push_back(expert);
      weights.push_back(0.01f + static_cast<float>(random() % 1000) / 997.0f);
    }
  return {
      support::random_matrix(random, c.mlp.dtype, tokens, c.mlp.hidden),
      switchyard::RoutingMap::from_topk(tokens, c.mlp.num_local_experts, c.top_k, std::move(ids), std::move(weights))};
}

/// @return how many ranks differ from the dense answer
int differing_ranks(LayerCase const& c, Style style) {
  std::mt19937_64 random(c.seed + 77);
  ExpertOperands const whole = support::random_weights(random, c.mlp);
  std::vector<int> differs(static_cast<std::size_t>(c.world()), 0);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, c.world(), {}, [&](switchyard::Communicator& comm) {
    support::RankLayer rank(c, whole, comm);
    auto const batch = batch_of(c, comm.rank().value(), style);
    auto out = support::poison(batch.tokens.bytes.size());
    rank.layer->forward(batch.tokens.view(), batch.routing, rank.weights(), support::output_view(c, out, batch));
    differs[comm.rank().index()] = out == support::dense_answer(c, whole, batch, comm.rank().value()) ? 0 : 1;
  });
  return std::accumulate(differs.begin(), differs.end(), 0);
}

struct Grid {
  int ep, tp;
};

std::vector<Grid> grids_for(ModelShape const& shape, PrepareKind kind) {
  if (kind == PrepareKind::no_communication || kind == PrepareKind::no_communication_batched)
    return {{1, 1}, {2, 1}, {4, 1}};
  std::vector<Grid> grids = {{4, 1}, {2, 2}, {3, 1}, {3, 2}};
  if (shape.experts >= 8) grids.push_back({8, 1});
  return grids;
}

}  // namespace

TEST_CASE("every model shape x way x grid x routing equals the dense answer") {
  int runs = 0;
  for (ModelShape const& shape : kShapes)
    for (PrepareKind const kind : cpu::kAllPrepareKinds)
      for (Grid const grid : grids_for(shape, kind)) {
        // One routing per run, turning, so that every shape and every way meets all four.
        LayerCase c = case_of(shape, kind, grid.ep, grid.tp);
        c.seed = static_cast<std::uint64_t>(runs + 1);
        auto const style = static_cast<Style>(runs % 4);
        ++runs;
        CAPTURE(std::string(shape.name));
        CAPTURE(to_string(kind));
        CAPTURE(grid.ep);
        CAPTURE(grid.tp);
        CAPTURE(static_cast<int>(style));
        CAPTURE(c.seed);
        CHECK(differing_ranks(c, style) == 0);
      }
  MESSAGE("runs: " << runs);
}
