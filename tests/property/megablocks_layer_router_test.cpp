// SPDX-License-Identifier: Apache-2.0
// MegaBlocksLayer: cast, router, experts and balance loss as one layer, against plain chains for the router's products
// and the plain loops for the experts. The router's own stages are the library's, which tests of their own hold.
//
// By hand: one rank, two experts with relu2 of one unit (w1 = 1, w2 = 1 and 2), router weight (0, 8), token 1: logits
// (0, 8), top-1 takes expert 1; normalised by the sum its weight is 1, so the output is 2 * 1^2 = 2.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "support/error_text.hpp"
#include "support/megablocks_cases.hpp"
#include "switchyard/cpu/megablocks_layer.hpp"

namespace {

using oracle::Row;
using support::contains;
using support::DType;
using support::Matrix;
using support::megablocks_case;
using support::MegaBlocksCase;
using support::MegaBlocksData;
using switchyard::ErrorCode;
using switchyard::ExpertBins;
using switchyard::LoadBalancingLoss;
using switchyard::MegaBlocksLayerConfig;
using switchyard::Normalisation;
namespace cpu = switchyard::cpu;

struct LayerSetting {
  MegaBlocksCase experts;
  MegaBlocksLayerConfig config{};
  DType token_dtype = DType::f32;
  bool with_loss = true;
  float loss_scale = 3.0f;
  bool training = false;  ///< jitter, where the configuration has one
};

LayerSetting setting(int world, int experts, DType dtype, DType token_dtype) {
  LayerSetting s;
  s.experts = megablocks_case(world, experts, dtype, ExpertBins::exact);
  s.config.experts = s.experts.config;
  s.config.normalize_expert_weights = Normalisation::sum;
  s.token_dtype = token_dtype;
  return s;
}

/// What every rank starts from: `data.tokens` holds the cast tokens, `given` the caller's.
struct LayerData {
  MegaBlocksData data;
  std::vector<Matrix> given;
  Matrix router;
};

LayerData layer_data(LayerSetting const& s) {
  LayerData d;
  d.data = support::megablocks_data(s.experts);
  std::mt19937_64 random(s.experts.seed + 5);
  d.router = support::random_matrix(random, DType::f32, s.config.experts.num_experts, s.config.experts.hidden, 0.2f);
  for (Matrix& tokens : d.data.tokens) {
    d.given.push_back(support::random_matrix(random, s.token_dtype, tokens.rows(), tokens.columns));
    tokens = support::matrix_of(s.config.experts.dtype, tokens.columns, d.given.back().values);
  }
  return d;
}

float chain(Row const& a, Row const& b) {
  float sum = 0.0f;
  for (std::size_t i = 0; i < a.size(); ++i) sum = std::fma(a[i], b[i], sum);
  return sum;
}

switchyard::CounterRng jitter_of(std::size_t rank) {
  return switchyard::CounterRng(42, rank);
}

/// values[first, ...) as the router reads them, or its part of a token's gradient: times the noise, if there is any.
Row with_noise(LayerSetting const& s, std::size_t rank, std::int64_t first, Row row) {
  if (!s.training || !s.config.jitter_eps) return row;
  auto const round = support::rounding_of(s.config.experts.dtype);
  auto const random = jitter_of(rank);
  for (std::size_t i = 0; i < row.size(); ++i) {
    auto const u = static_cast<float>(random.bits(static_cast<std::uint64_t>(first) + i) >> 40) / 16777216.0f;
    float const scaled = u * static_cast<float>(2 * *s.config.jitter_eps);
    row[i] = round(row[i] * round(static_cast<float>(1 - *s.config.jitter_eps) + scaled));
  }
  return row;
}

/// One rank's router, plainly: rounded logits, and the library's choice from them.
struct PlainRouter {
  std::vector<float> logits;
  switchyard::RoutingMap chosen;
};

PlainRouter plain_router(LayerSetting const& s, LayerData const& d, std::size_t rank) {
  PlainRouter router;
  Matrix const& tokens = d.data.tokens[rank];
  std::int64_t const experts = s.config.experts.num_experts;
  auto const round = support::rounding_of(s.config.router().rounding.logits);
  for (std::int64_t t = 0; t < tokens.rows(); ++t)
    for (std::int64_t e = 0; e < experts; ++e)
      router.logits.push_back(round(
          chain(with_noise(s, rank, t * tokens.columns, support::row_of(tokens, t)), support::row_of(d.router, e))));
  router.chosen = switchyard::route(s.config.router(), {router.logits.data(), DType::f32, {tokens.rows(), experts}});
  return router;
}

switchyard::LoadBalancingConfig loss_config(LayerSetting const& s) {
  switchyard::LoadBalancingConfig config;
  config.num_experts = s.config.experts.num_experts;
  config.top_k = s.config.experts.top_k;
  config.loss_weight = 0.5;
  return config;
}

struct LayerAnswer {
  std::vector<std::byte> output, d_tokens;
  std::vector<float> d_router;
  float loss = 0;
};

/// The router's backward in plain chains around the experts' gradients.
LayerAnswer plain_layer(LayerSetting const& s, LayerData const& d, PlainRouter const& router,
                        oracle::MegaBlocksResult const& experts, std::size_t rank) {
  Matrix const& tokens = d.data.tokens[rank];
  auto const num_experts = static_cast<std::size_t>(s.config.experts.num_experts);
  auto const hidden = static_cast<std::size_t>(tokens.columns);
  switchyard::ConstTensorView const logits(router.logits.data(), DType::f32,
                                           {tokens.rows(), s.config.experts.num_experts});
  auto d_logits = switchyard::route_backward(s.config.router(), logits, router.chosen, experts.d_weights[rank]);
  LayerAnswer answer;
  if (s.with_loss) {
    LoadBalancingLoss losses(loss_config(s));
    auto const used = s.config.uniform_expert_assignment ? uniform_assignment(router.chosen) : router.chosen;
    losses.save(0, tokens_per_expert(used), loss_scores(switchyard::ScoreFunction::softmax_pre, logits));
    auto const of_loss = losses.logit_gradient(0, s.loss_scale);
    for (std::size_t i = 0; i < d_logits.size(); ++i) d_logits[i] = d_logits[i] + of_loss[i];
    answer.loss = losses.loss();
  }
  answer.d_router.assign(num_experts * hidden, 0.0f);
  auto const round = support::rounding_of(s.config.experts.dtype);
  std::vector<float> output, d_tokens;
  for (std::size_t t = 0; t < static_cast<std::size_t>(tokens.rows()); ++t) {
    auto const first = static_cast<std::int64_t>(t * hidden);
    Row const read = with_noise(s, rank, first, support::row_of(tokens, static_cast<std::int64_t>(t)));
    Row of_router(hidden, 0.0f);
    for (std::size_t h = 0; h < hidden; ++h) {
      for (std::size_t e = 0; e < num_experts; ++e) {
        float const d_logit = d_logits[t * num_experts + e];
        of_router[h] = std::fma(d_logit, d.router.values[e * hidden + h], of_router[h]);
        float& sum = answer.d_router[e * hidden + h];
        sum = std::fma(d_logit, read[h], sum);
      }
      of_router[h] = round(of_router[h]);
    }
    of_router = with_noise(s, rank, first, of_router);
    for (std::size_t h = 0; h < hidden; ++h) {
      output.push_back(experts.output[rank][t][h]);
      d_tokens.push_back(round(of_router[h] + experts.d_tokens[rank][t][h]));
    }
  }
  answer.output = support::matrix_of(s.config.experts.dtype, tokens.columns, output).bytes;
  answer.d_tokens = support::matrix_of(s.token_dtype, tokens.columns, d_tokens).bytes;
  return answer;
}

/// @return the first thing that differs on this rank; empty when nothing does
std::string compare_rank(LayerSetting const& s, LayerData const& d, LayerAnswer const& answer,
                         switchyard::Communicator& comm) {
  auto const r = comm.rank().index();
  cpu::MegaBlocksLayer layer(comm, s.config);
  auto const own = support::megablocks_weights(s.experts, d.data, layer.experts().mlp(), comm.rank().value());
  LoadBalancingLoss losses(loss_config(s));
  cpu::MegaBlocksLayerInputs inputs;
  inputs.tokens = d.given[r].view();
  inputs.router_weight = d.router.view();
  inputs.expert_weights = support::weight_views(own, layer.experts().mlp(), false);
  inputs.bias = {d.data.bias.bytes.data(), s.config.experts.dtype, {s.config.experts.hidden}};
  auto const jitter = jitter_of(r);
  if (s.training) inputs.jitter = &jitter;
  if (s.with_loss) inputs.losses = &losses;
  auto output = support::poison(d.data.tokens[r].bytes.size());
  switchyard::TensorShape const shape{d.given[r].rows(), d.given[r].columns};
  cpu::MegaBlocksLayerStep step;
  (void)layer.forward(inputs, {output.data(), s.config.experts.dtype, shape}, &step);
  auto d_tokens = support::poison(d.given[r].bytes.size());
  std::vector<float> d_router;
  cpu::MegaBlocksLayerGradients gradients;
  gradients.d_output = d.data.d_output[r].view();
  gradients.d_tokens = {d_tokens.data(), s.token_dtype, shape};
  gradients.d_router_weight = support::f32_view(d_router, s.config.experts.num_experts, s.config.experts.hidden);
  if (s.with_loss) gradients.losses = &losses;
  gradients.loss_scale = s.loss_scale;
  layer.backward(step, inputs, gradients);

  auto const row_bytes = static_cast<std::size_t>(s.config.experts.hidden * size_of(s.config.experts.dtype));
  if (step.experts.rows.size() % row_bytes != 0) return "rows are not of the layer's dtype";
  if (output != answer.output) return "output";
  if (d_tokens != answer.d_tokens) return "d_tokens";
  if (std::memcmp(d_router.data(), answer.d_router.data(), d_router.size() * sizeof(float)) != 0) return "d_router";
  if (s.with_loss && losses.loss() != answer.loss) return "loss";
  return "";
}

std::string difference(LayerSetting const& s) {
  LayerData d = layer_data(s);
  std::vector<PlainRouter> routers;
  for (std::size_t r = 0; r < d.given.size(); ++r) {
    routers.push_back(plain_router(s, d, r));
    d.data.routings[r] = s.config.uniform_expert_assignment ? uniform_assignment(routers[r].chosen) : routers[r].chosen;
  }
  auto const experts = support::megablocks_answer(s.experts, d.data);
  std::vector<std::string> found(d.given.size());
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, s.config.experts.world, {}, [&](switchyard::Communicator& comm) {
    auto const r = comm.rank().index();
    found[r] = compare_rank(s, d, plain_layer(s, d, routers[r], experts, r), comm);
  });
  for (std::size_t r = 0; r < found.size(); ++r)
    if (!found[r].empty()) return found[r] + " of rank " + std::to_string(r);
  return "";
}

}  // namespace

TEST_CASE("a whole layer by hand, the cast included") {
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [](switchyard::Communicator& comm) {
    MegaBlocksLayerConfig config;
    config.experts.num_experts = 2;
    config.experts.hidden = 1;
    config.experts.ffn_hidden = 1;
    config.experts.activation = {switchyard::Activation::relu2, switchyard::GateLayout::plain};
    config.experts.bins = ExpertBins::exact;
    config.normalize_expert_weights = Normalisation::sum;
    cpu::MegaBlocksLayer layer(comm, config);
    float const token = 1.001f;  // 1 in bf16
    Matrix const router = support::matrix_of(DType::f32, 1, {0, 8});
    Matrix const w1 = support::matrix_of(DType::bf16, 1, {1, 1});
    Matrix const w2 = support::matrix_of(DType::bf16, 1, {1, 2});
    cpu::MegaBlocksLayerInputs inputs;
    inputs.tokens = {&token, DType::f32, {1, 1}};
    inputs.router_weight = router.view();
    inputs.expert_weights.w1 = {w1.bytes.data(), DType::bf16, {2, 1, 1}};
    inputs.expert_weights.w2 = {w2.bytes.data(), DType::bf16, {2, 1, 1}};
    Matrix out = support::matrix_of(DType::bf16, 1, {-1});
    cpu::MegaBlocksLayerStep step;
    CHECK(layer.forward(inputs, out.mutable_view(), &step).data() == nullptr);
    CHECK(out.bytes == support::matrix_of(DType::bf16, 1, {2}).bytes);
    CHECK(step.logits == std::vector<float>{0, 8});
    CHECK(step.experts.rows.size() == 2);  // one bf16 row was permuted, not four bytes of f32

    float const nan = std::nanf("");
    inputs.tokens = {&nan, DType::f32, {1, 1}};
    CHECK(contains(
        support::error_text(ErrorCode::invalid_argument, [&] { return layer.forward(inputs, out.mutable_view()); }),
        "NaN"));
  });
}

TEST_CASE("grids x dtypes x token dtypes: outputs, losses and gradients equal the plain chains") {
  constexpr std::array<std::array<int, 2>, 5> kGrids = {{{1, 4}, {2, 4}, {4, 8}, {4, 2}, {8, 1}}};
  for (auto const& [world, experts] : kGrids)
    for (DType const dtype : {DType::f32, DType::bf16})
      for (DType const token_dtype : {DType::f32, DType::bf16, DType::f16}) {
        CAPTURE(world);
        CAPTURE(experts);
        CAPTURE(to_string(dtype));
        CAPTURE(to_string(token_dtype));
        CHECK(difference(setting(world, experts, dtype, token_dtype)) == "");
      }
}

TEST_CASE("normalisations, a uniform assignment, no loss, codes and capacities") {
  for (Normalisation const normalisation : {Normalisation::none, Normalisation::sum, Normalisation::l2})
    for (bool const uniform : {false, true})
      for (bool const with_loss : {false, true}) {
        LayerSetting s = setting(2, 4, DType::bf16, DType::f32);
        s.config.normalize_expert_weights = normalisation;
        s.config.uniform_expert_assignment = uniform;
        s.with_loss = with_loss;
        s.experts.config.bins = ExpertBins::capacity;
        s.experts.config.capacity_factor = 0.2;
        s.experts.config.quantize_scatter_num_bits = uniform ? 8 : -1;
        s.config.experts = s.experts.config;
        CAPTURE(static_cast<int>(normalisation));
        CAPTURE(uniform);
        CAPTURE(with_loss);
        CHECK(difference(s) == "");
      }
}

TEST_CASE("jitter: in training the router alone reads noise, in evaluation nothing changes") {
  for (DType const dtype : {DType::f32, DType::bf16}) {
    LayerSetting s = setting(2, 4, dtype, DType::f32);
    s.config.jitter_eps = 0.25;
    CHECK(difference(s) == "");
    s.training = true;
    CHECK(difference(s) == "");
    s.config.jitter_eps = 0.0;
    CHECK(difference(s) == "");
  }
  LayerSetting s = setting(2, 4, DType::f32, DType::f32);
  Row const tokens(1000, 1.0f);
  s.config.jitter_eps = 0.25;
  s.training = true;
  Row const noisy = with_noise(s, 0, 0, tokens);
  auto const [least, most] = std::minmax_element(noisy.begin(), noisy.end());
  CHECK((*least >= 0.75f && *least < 0.76f && *most < 1.25f && *most > 1.24f));
  CHECK(noisy != with_noise(s, 1, 0, tokens));
  s.config.jitter_eps = 1.0;
  CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { return difference(s); }),
                 "a router jitter of 1"));
}

TEST_CASE("a uniform assignment hands choices out in turn") {
  auto const routing = switchyard::RoutingMap::from_topk(3, 4, 2, {3, 3, 3, 3, 3, 3}, {1, 2, 3, 4, 5, 6});
  auto const uniform = switchyard::uniform_assignment(routing);
  CHECK(std::vector<std::int32_t>(uniform.ids().begin(), uniform.ids().end()) ==
        std::vector<std::int32_t>{0, 1, 2, 3, 0, 1});
  CHECK(std::vector<float>(uniform.weights().begin(), uniform.weights().end()) == std::vector<float>{1, 2, 3, 4, 5, 6});
}
