// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/fast_experts.hpp"

#include "fast_layers.hpp"
#include "fast_operands.hpp"
#include "nvtx_range.hpp"
#include "switchyard/types/counts.hpp"
#include "system_probe.hpp"

namespace switchyard::cuda {

struct FastExperts::State {
  State(ExpertMlp const& mlp, ScaleSpan scales, StreamView stream) : layers(mlp, scales, stream) {}

  FastLayers layers;
  DeviceScratch d_activation{};  ///< floats
  DeviceScratch d_hidden{};

  /// out = left times the matrices. @param result type of `out`
  void through(ExpertCall const& call, void const* left, void const* matrices, std::int64_t columns, std::int64_t steps,
               void* out, cudaDataType_t result);
  /// out[expert] = left^T right over the expert's rows, floats; nothing without `out`
  void over_rows(ExpertCall const& call, void const* left, std::int64_t rows, void const* right, std::int64_t columns,
                 TensorView const& out);
  /// out[expert] = the expert's rows added, floats; nothing without `out`
  void bias_gradient(ExpertCall const& call, void const* rows, std::int64_t columns, TensorView const& out) const;
  FastGradientJob hidden_gradient(ExpertGradientCall const& call, FastRows const& rows);
};

void FastExperts::State::through(ExpertCall const& call, void const* left, void const* matrices, std::int64_t columns,
                                 std::int64_t steps, void* out, cudaDataType_t result) {
  ExpertProducts on = layers.products(call.blocks);
  on.lines = ChainLines::right_across;
  on.result = result;
  on.columns = columns;
  on.steps = steps;
  on.left = left;
  on.right = matrices;
  on.out = out;
  layers.multiply(on);
}

void FastExperts::State::over_rows(ExpertCall const& call, void const* left, std::int64_t rows, void const* right,
                                   std::int64_t columns, TensorView const& out) {
  if (out.data() == nullptr) return;
  ExpertProducts on = layers.products(call.blocks);
  on.lines = ChainLines::both_across;
  on.result = CUDA_R_32F;
  on.rows = rows;
  on.columns = columns;
  on.left = left;
  on.right = right;
  on.out = out.data();
  layers.multiply(on);
}

void FastExperts::State::bias_gradient(ExpertCall const& call, void const* rows, std::int64_t columns,
                                       TensorView const& out) const {
  if (out.data() == nullptr) return;
  launch_fast_column_sums(call.blocks, {layers.mlp().dtype, columns, rows, static_cast<float*>(out.data())},
                          layers.stream());
}

/// The forward pass again up to its activations, and the gradient of what the first layer gives.
FastGradientJob FastExperts::State::hidden_gradient(ExpertGradientCall const& call, FastRows const& rows) {
  ExpertMlp const& mlp = layers.mlp();
  FastGradientJob job;
  job.forward = layers.activation_job(rows);
  auto* const d_output = d_activation.reserve_elements<float>(checked_mul(rows.count, mlp.local_units()));
  through(call.forward, call.d_output.data(), call.forward.weights.w2.data(), mlp.local_units(), mlp.hidden, d_output,
          CUDA_R_32F);
  job.d_activation = d_output;
  job.d_hidden = layers.reserve(d_hidden, rows.count, mlp.first_layer_outputs());
  launch_fast_gradient(call.forward.blocks, job, layers.stream());
  return job;
}

FastExperts::FastExperts(ExpertMlp const& mlp, StreamView stream) {
  ScaleSpan const scales = require_fast_mlp(mlp);
  require_device_code("FastExperts");
  state_ = std::make_unique<State>(mlp, scales, stream);
}
FastExperts::~FastExperts() = default;

ExpertMlp const& FastExperts::mlp() const noexcept {
  return state_->layers.mlp();
}

ExpertsTraits FastExperts::traits() const {
  ExpertsTraits traits;
  traits.name = std::string(name());
  traits.formats = {RowFormat::standard, RowFormat::batched};
  if (mlp().input_quant) traits.input_schemes = {mlp().input_quant->scheme};
  traits.dtypes = {mlp().dtype};
  return traits;
}

void FastExperts::apply(ExpertCall const& call, std::span<std::byte>) const {
  NvtxRange const range("experts");
  FastLayers& layers = state_->layers;
  std::int64_t const count = require_fast_call(layers.mlp(), layers.scales(), call);
  layers.require_biases(call.weights);
  if (count == 0) return;
  FastRows const rows(call.blocks, count, layers.scales());
  layers.first_layer(call, layers.first_input(call, rows), rows);
  layers.second_layer(call, rows);
}

void FastExperts::backward(ExpertGradientCall const& call, std::span<std::byte>) const {
  NvtxRange const range("experts backward");
  State& on = *state_;
  FastLayers& layers = on.layers;
  ExpertCall const& forward = call.forward;
  std::int64_t const count = require_fast_gradient(layers.mlp(), layers.scales(), call);
  layers.require_biases(forward.weights);
  FastRows const rows(forward.blocks, count, layers.scales());
  std::int64_t const hidden = layers.mlp().hidden;
  std::int64_t const outputs = layers.mlp().first_layer_outputs();
  RowOperand const input = layers.first_input(forward, rows);
  layers.first_layer(forward, input, rows);
  FastGradientJob const job = on.hidden_gradient(call, rows);
  on.over_rows(forward, call.d_output.data(), hidden, job.forward.activation, layers.mlp().local_units(), call.d_w2);
  on.over_rows(forward, job.d_hidden, outputs, input.data, hidden, call.d_w1);
  on.bias_gradient(forward, call.d_output.data(), hidden, call.d_b2);
  on.bias_gradient(forward, job.d_hidden, outputs, call.d_b1);
  on.through(forward, job.d_hidden, forward.weights.w1.data(), hidden, outputs, call.d_rows.data(),
             cublas_type(layers.joined_dtype()));
}

}  // namespace switchyard::cuda
