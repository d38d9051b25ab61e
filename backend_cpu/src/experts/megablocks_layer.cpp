// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/megablocks_layer.hpp"

#include "chain_matmul.hpp"
#include "check_call.hpp"
#include "expert_layers.hpp"
#include "router_jitter.hpp"
#include "switchyard/hd/arithmetic.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// Rows of `from` rounded to the dtype of `to`.
void cast_rows(ConstTensorView const& from, std::int64_t rows, std::int64_t columns, TensorView const& to) {
  ExpertKernels const& kernels = active_expert_kernels();
  for_rows(rows, columns, [&](std::int64_t row) {
    std::vector<float> wide(to_size(columns));
    kernels.load(static_cast<std::byte const*>(from.data()) + row * columns * size_of(from.dtype()), from.dtype(),
                 nullptr, wide.data(), columns);
    kernels.add_and_store(wide.data(), nullptr, to.dtype(),
                          static_cast<std::byte*>(to.data()) + row * columns * size_of(to.dtype()), columns);
  });
}

std::int64_t rows_of(ConstTensorView const& matrix) {
  return matrix.shape().rank() == 2 ? matrix.extent(0) : 0;
}

}  // namespace

MegaBlocksLayer::MegaBlocksLayer(Communicator& comm, MegaBlocksLayerConfig const& config)
    : config_(config), experts_(comm, config.experts) {
  config_.validate();
}

void MegaBlocksLayer::check_router(MegaBlocksLayerInputs const& inputs) const {
  SWITCHYARD_REQUIRE(inputs.tokens.shape().rank() == 2, shape_mismatch,
                     "tokens have {} dimensions: the layer takes [tokens, hidden]", inputs.tokens.shape().rank());
  require_matrix(inputs.tokens, "tokens", rows_of(inputs.tokens), config_.experts.hidden);
  require_matrix(inputs.router_weight, "router weight", config_.experts.num_experts, config_.experts.hidden);
}

std::vector<float> MegaBlocksLayer::logits_of(ConstTensorView const& tokens,
                                              ConstTensorView const& router_weight) const {
  std::int64_t const hidden = config_.experts.hidden;
  std::int64_t const experts = config_.experts.num_experts;
  std::vector<float> logits(to_size(checked_mul(tokens.extent(0), experts)));
  chain_matmul({tokens.data(), tokens.dtype(), hidden, 1}, tokens.extent(0),
               {router_weight.data(), router_weight.dtype(), hidden, 1}, experts, hidden, logits.data());
  active_expert_kernels().add_and_round(logits.data(), nullptr, config_.router().rounding.logits,
                                        static_cast<std::int64_t>(logits.size()));
  return logits;
}

ConstTensorView MegaBlocksLayer::forward(MegaBlocksLayerInputs const& inputs, TensorView const& output,
                                         MegaBlocksLayerStep* step) {
  check_router(inputs);
  hd::FloatEnvGuard const float_env;
  std::int64_t const tokens = inputs.tokens.extent(0);
  std::int64_t const hidden = config_.experts.hidden;
  MegaBlocksLayerStep own;
  MegaBlocksLayerStep& kept = step != nullptr ? *step : own;
  kept = {};
  kept.tokens.resize(to_size(checked_mul(checked_mul(tokens, hidden), size_of(config_.experts.dtype))));
  TensorView const cast(kept.tokens.data(), config_.experts.dtype, {tokens, hidden});
  cast_rows(inputs.tokens, tokens, hidden, cast);
  bool const noisy = inputs.jitter != nullptr && config_.jitter_eps.has_value();
  if (noisy) kept.jittered = jittered(cast, *inputs.jitter);
  kept.logits =
      logits_of({noisy ? kept.jittered.data() : kept.tokens.data(), cast.dtype(), cast.shape()}, inputs.router_weight);
  ConstTensorView const logits(kept.logits.data(), DType::f32, {tokens, config_.experts.num_experts});
  kept.chosen = route(config_.router(), logits);
  RoutingMap const routing = config_.uniform_expert_assignment ? uniform_assignment(kept.chosen) : kept.chosen;
  std::vector<float> scores;
  if (inputs.losses != nullptr) scores = loss_scores(ScoreFunction::softmax_pre, logits);

  ParallelMlpInputs experts;
  experts.tokens = cast;
  experts.routing = &routing;
  experts.weights = inputs.expert_weights;
  experts.bias = inputs.bias;
  experts.losses = inputs.losses;
  experts.layer = inputs.layer;
  experts.scores = scores;
  return experts_.forward(experts, output, step != nullptr ? &step->experts : nullptr);
}

std::vector<float> MegaBlocksLayer::logit_gradient(MegaBlocksLayerStep const& step, std::span<float const> d_weights,
                                                   MegaBlocksLayerGradients const& gradients) const {
  ConstTensorView const logits(step.logits.data(), DType::f32, {step.chosen.num_tokens(), config_.experts.num_experts});
  std::vector<float> d_logits = route_backward(config_.router(), logits, step.chosen, d_weights);
  if (gradients.losses == nullptr) return d_logits;
  std::vector<float> const of_loss = gradients.losses->logit_gradient(gradients.layer, gradients.loss_scale);
  SWITCHYARD_REQUIRE(of_loss.size() == d_logits.size(), shape_mismatch,
                     "layer {} of the load-balancing loss holds {} scores, this step {} logits: the loss was cleared "
                     "and saved again since the forward pass",
                     gradients.layer, of_loss.size(), d_logits.size());
  for (std::size_t i = 0; i < d_logits.size(); ++i) d_logits[i] = hd::add_rn(d_logits[i], of_loss[i]);
  return d_logits;
}

std::vector<std::byte> MegaBlocksLayer::jittered(ConstTensorView const& tokens, CounterRng const& random) const {
  std::int64_t const hidden = config_.experts.hidden;
  std::int64_t const row_bytes = hidden * size_of(tokens.dtype());
  RouterJitter const jitter{random, *config_.jitter_eps, tokens.dtype()};
  std::vector<std::byte> out(to_size(tokens.extent(0) * row_bytes));
  ExpertKernels const& kernels = active_expert_kernels();
  for_rows(tokens.extent(0), hidden, [&](std::int64_t token) {
    std::vector<float> row(to_size(hidden));
    kernels.load(static_cast<std::byte const*>(tokens.data()) + token * row_bytes, tokens.dtype(), nullptr, row.data(),
                 hidden);
    jitter.multiply(token * hidden, row);
    kernels.add_and_store(row.data(), nullptr, tokens.dtype(), out.data() + token * row_bytes, hidden);
  });
  return out;
}

void MegaBlocksLayer::add_router_gradient(std::span<float const> d_logits, MegaBlocksLayerInputs const& inputs,
                                          ConstTensorView const& d_experts, TensorView const& d_tokens) const {
  ConstTensorView const& router_weight = inputs.router_weight;
  std::int64_t const hidden = config_.experts.hidden;
  std::int64_t const experts = config_.experts.num_experts;
  std::int64_t const tokens = d_experts.extent(0);
  DType const dtype = config_.experts.dtype;
  std::vector<float> of_router(to_size(checked_mul(tokens, hidden)));
  chain_matmul({d_logits.data(), DType::f32, experts, 1}, tokens,
               {router_weight.data(), router_weight.dtype(), 1, hidden}, hidden, experts, of_router.data());
  ExpertKernels const& kernels = active_expert_kernels();
  for_rows(tokens, hidden, [&](std::int64_t token) {
    float* const sum = of_router.data() + token * hidden;
    std::vector<float> row(to_size(hidden));
    kernels.load(static_cast<std::byte const*>(d_experts.data()) + token * hidden * size_of(dtype), dtype, nullptr,
                 row.data(), hidden);
    kernels.add_and_round(sum, nullptr, dtype, hidden);
    if (inputs.jitter != nullptr && config_.jitter_eps)
      RouterJitter{*inputs.jitter, *config_.jitter_eps, dtype}.multiply(token * hidden, {sum, to_size(hidden)});
    kernels.add_and_round(sum, row.data(), dtype, hidden);
    kernels.add_and_store(sum, nullptr, d_tokens.dtype(),
                          static_cast<std::byte*>(d_tokens.data()) + token * hidden * size_of(d_tokens.dtype()),
                          hidden);
  });
}

void MegaBlocksLayer::backward(MegaBlocksLayerStep const& step, MegaBlocksLayerInputs const& inputs,
                               MegaBlocksLayerGradients const& gradients) {
  check_router(inputs);
  std::int64_t const hidden = config_.experts.hidden;
  std::int64_t const experts = config_.experts.num_experts;
  std::int64_t const tokens = step.chosen.num_tokens();
  bool const noisy = inputs.jitter != nullptr && config_.jitter_eps.has_value();
  SWITCHYARD_REQUIRE(tokens == 0 || noisy == !step.jittered.empty(), invalid_argument,
                     "the forward pass had {} jitter, its backward has {}: pass the same inputs", noisy ? "no" : "a",
                     noisy ? "one" : "none");
  DType const dtype = config_.experts.dtype;
  require_matrix(gradients.d_tokens, "d_tokens", tokens, hidden);
  if (gradients.d_router_weight.data() != nullptr)
    require_matrix(gradients.d_router_weight, "d_router_weight", experts, hidden);
  std::vector<std::byte> d_experts(step.tokens.size());
  std::vector<float> d_weights(step.chosen.weights().size());
  ParallelMlpGradients inner;
  inner.d_output = gradients.d_output;
  inner.d_tokens = {d_experts.data(), dtype, {tokens, hidden}};
  inner.d_router_weights = d_weights;
  inner.d_w1 = gradients.d_w1;
  inner.d_w2 = gradients.d_w2;
  inner.d_bias = gradients.d_bias;
  experts_.backward(step.experts, inputs.expert_weights, inner);

  hd::FloatEnvGuard const float_env;
  std::vector<float> const d_logits = logit_gradient(step, d_weights, gradients);
  if (gradients.d_router_weight.data() != nullptr)
    chain_matmul({d_logits.data(), DType::f32, 1, experts}, experts,
                 {step.jittered.empty() ? step.tokens.data() : step.jittered.data(), dtype, 1, hidden}, hidden, tokens,
                 gradients.d_router_weight.elements<float>().data());
  add_router_gradient(d_logits, inputs, inner.d_tokens, gradients.d_tokens);
}

}  // namespace switchyard::cpu
