// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/parallel_mlp.hpp"

#include "check_call.hpp"
#include "parallel_mlp_rows.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {

ParallelMlp::ParallelMlp(Communicator& comm, ParallelMlpConfig const& config)
    : comm_(comm),
      config_(config),
      placement_(ExpertPlacement::contiguous(1, config.num_experts,
                                             megablocks_grid(config.world, config.num_experts).expert_blocks)),
      experts_(config.expert_mlp(comm.rank())),
      executor_(comm),
      stages_(comm) {
  config_.validate();
  SWITCHYARD_REQUIRE(comm.size() == config_.world, invalid_argument, "a communicator of {} ranks for a world of {}",
                     comm.size(), config_.world);
}

void ParallelMlp::check_inputs(ParallelMlpInputs const& inputs, TensorView const& output, bool kept) const {
  SWITCHYARD_REQUIRE(inputs.routing != nullptr && inputs.routing->form() == RoutingForm::topk, invalid_argument,
                     "MegaBlocks' experts take a top-k routing: convert a dense one with to_topk()");
  RoutingMap const& routing = *inputs.routing;
  std::int64_t const tokens = routing.num_tokens();
  SWITCHYARD_REQUIRE(routing.num_experts() == config_.num_experts && routing.top_k() == config_.top_k, shape_mismatch,
                     "a routing of top-{} over {} experts for a layer of top-{} over {}", routing.top_k(),
                     routing.num_experts(), config_.top_k, config_.num_experts);
  require_matrix(inputs.tokens, "tokens", tokens, config_.hidden);
  require_matrix(output, "output", tokens, config_.hidden);
  SWITCHYARD_REQUIRE(tokens == 0 || (inputs.tokens.dtype() == config_.dtype && output.dtype() == config_.dtype),
                     shape_mismatch, "tokens are {} and outputs {}, the layer computes on {}: cast before the call",
                     to_string(inputs.tokens.dtype()), to_string(output.dtype()), to_string(config_.dtype));
  SWITCHYARD_REQUIRE(inputs.weights.b1.data() == nullptr && inputs.weights.b2.data() == nullptr, unsupported,
                     "MegaBlocks' experts have no biases of their own: the layer's bias is ParallelMlpInputs::bias");
  SWITCHYARD_REQUIRE(!kept || (inputs.weights.w1_codes.empty() && inputs.weights.w2_codes.empty()), unsupported,
                     "a step to be trained on with quantised weights: give plain ones");
  check_weights(experts_.mlp(), inputs.weights);
  if (inputs.bias.data() == nullptr) return;
  require_matrix(inputs.bias, "bias", 1, config_.hidden);
  SWITCHYARD_REQUIRE(inputs.bias.dtype() == config_.dtype, shape_mismatch, "the bias is {}, the layer computes on {}",
                     to_string(inputs.bias.dtype()), to_string(config_.dtype));
}

ConstTensorView ParallelMlp::forward(ParallelMlpInputs const& inputs, TensorView const& output, ParallelMlpStep* step) {
  check_inputs(inputs, output, step != nullptr);
  RoutingMap const& routing = *inputs.routing;
  if (inputs.losses != nullptr) inputs.losses->save(inputs.layer, tokens_per_expert(routing), inputs.scores);
  ParallelMlpStep own;
  ParallelMlpStep& kept = step != nullptr ? *step : own;
  kept = {};
  kept.plan = plan_megablocks(comm_, config_.dispatch_config(), routing, placement_, 0);
  kept.routing = routing;
  TensorShape const token_shape{routing.num_tokens(), config_.hidden};
  TensorView const results = run_experts(inputs, kept, step == nullptr && mlp().tp.size == 1);
  CombineInputs terms;
  terms.weights = routing.weights();
  terms.experts = routing.ids();
  TensorView const out(output.data(), config_.dtype, token_shape);
  executor_.combine(kept.plan, config_.recipe, results, terms, out);
  if (step != nullptr && config_.quantize_scatter_num_bits != -1) {
    kept.home_codes = quantised_home(kept.plan, results);
    kept.expert_rows.clear();
    kept.expert_rows.shrink_to_fit();
  }
  if (inputs.bias.data() == nullptr || config_.return_bias) return inputs.bias;
  add_bias(inputs.bias, out);
  return {};
}

/// Dispatch and experts. @return the results: step.expert_rows, or step.rows where experts work in place
TensorView ParallelMlp::run_experts(ParallelMlpInputs const& inputs, ParallelMlpStep& step, bool in_place) {
  std::int64_t const num_rows = step.plan.num_expert_rows();
  TensorShape const shape{num_rows, config_.hidden};
  step.rows = matrix_bytes(num_rows, config_.hidden, config_.dtype);
  TensorView const rows(step.rows.data(), config_.dtype, shape);
  executor_.dispatch(step.plan, {inputs.tokens.data(), config_.dtype, {step.plan.num_tokens, config_.hidden}}, rows);
  step.blocks = bin_blocks(step.plan);
  step.expert_rows = matrix_bytes(in_place ? 0 : num_rows, config_.hidden, result_dtype());
  ExpertCall call;
  call.rows = rows;
  call.blocks = step.blocks;
  call.weights = inputs.weights;
  call.output = in_place ? rows : TensorView(step.expert_rows.data(), result_dtype(), shape);
  experts_.apply(call, workspace_.reserve(experts_.workspace_bytes(largest_block(step.blocks))));
  return call.output;
}

void ParallelMlp::add_bias(ConstTensorView const& bias, TensorView const& output) const {
  ExpertKernels const& kernels = active_expert_kernels();
  hd::FloatEnvGuard const float_env;
  std::vector<float> const addend = expert_bias(kernels, bias, 0, config_.hidden);
  std::int64_t const row_bytes = config_.hidden * size_of(config_.dtype);
  for_rows(output.extent(0), config_.hidden, [&](std::int64_t token) {
    std::vector<float> row(addend.size());
    std::byte* const at = static_cast<std::byte*>(output.data()) + token * row_bytes;
    kernels.load(at, config_.dtype, nullptr, row.data(), config_.hidden);
    kernels.add_and_store(row.data(), addend.data(), config_.dtype, at, config_.hidden);
  });
}

/// The stages of the return path but for the first, inverted: every result is at its source, hidden shards joined.
QuantizedMatrix ParallelMlp::quantised_home(DispatchPlan const& plan, ConstTensorView const& expert_rows) {
  std::vector<std::byte> current;
  ConstTensorView view = expert_rows;
  for (std::size_t position = plan.stages.size(); position-- > 1;) {
    std::int64_t const rows = input_rows(plan.stages[position]);
    std::vector<std::byte> next = matrix_bytes(rows, config_.hidden, view.dtype());
    TensorView const to(next.data(), view.dtype(), {rows, config_.hidden});
    stages_.backward(plan, {StageList::stages, position}, view, to);
    current = std::move(next);
    view = to;
  }
  std::vector<std::byte> joined;
  if (view.dtype() != config_.dtype) {
    joined = rounded(view.elements<float>(), config_.hidden, config_.dtype);
    view = {joined.data(), config_.dtype, view.shape()};
  }
  QuantSpec spec;
  spec.scheme = QuantScheme::int8_token;
  return quantize(spec, view);
}

}  // namespace switchyard::cpu
