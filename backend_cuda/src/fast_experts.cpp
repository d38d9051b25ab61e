// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/fast_experts.hpp"

#include "expert_matmul.hpp"
#include "fast_kernels.hpp"
#include "fast_operands.hpp"
#include "nvtx_range.hpp"
#include "scratch.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

cudaDataType_t cublas_type(DType dtype) {
  if (dtype == DType::f32) return CUDA_R_32F;
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

/// A product's left side, as rows of floats or of codes.
struct RowOperand {
  void const* data = nullptr;
  float const* scales = nullptr;
};

/// One layer's weights: one matrix for all experts, or codes and scales of each.
struct WeightOperand {
  void const* plain = nullptr;
  std::vector<std::byte const*> codes{};
  std::vector<float const*> scales{};

  WeightOperand(ConstTensorView const& weights, std::span<QuantizedView const> coded) : plain(weights.data()) {
    for (QuantizedView const& matrix : coded) {
      codes.push_back(matrix.codes.data());
      scales.push_back(reinterpret_cast<float const*>(matrix.scales.data()));
    }
  }
};

/// Device memory for the codes of one product's rows.
struct CodeScratch {
  DeviceScratch codes{};
  DeviceScratch scales{};
};

}  // namespace

struct FastExperts::State {
  ExpertMlp mlp{};
  StreamView stream{};
  ScaleSpan scales = ScaleSpan::none;
  ExpertMatmul matmul{};
  DeviceScratch weighted{};  ///< rows times their router weights
  DeviceScratch hidden{};
  DeviceScratch activation{};
  DeviceScratch d_activation{};  ///< floats
  DeviceScratch d_hidden{};
  CodeScratch row_codes{};
  CodeScratch activation_codes{};
  DeviceScratch aligned_scales{};  ///< of one product's rows, every block from 16 bytes on

  void* reserve(DeviceScratch& memory, std::int64_t rows, std::int64_t columns) const {
    return memory.reserve(checked_mul(checked_mul(rows, columns), size_of(mlp.dtype)));
  }
  /// Rows times their weights, if they have any.
  void const* weigh(ExpertCall const& call, std::int64_t rows);
  RowOperand quantized(QuantSpec spec, std::optional<float> scale, void const* values, std::int64_t rows,
                       std::int64_t columns, CodeScratch& to) const;
  RowOperand first_input(ExpertCall const& call, std::int64_t rows);
  [[nodiscard]] FastActivationJob activation_job(std::int64_t rows);
  RowOperand second_input(ExpertCall const& call, std::int64_t rows);

  /// Where each block's scales begin, after a copy that cuBLAS's alignment asks for.
  std::vector<float const*> left_scales(std::span<switchyard::RowBlock const> blocks, float const* of_rows);
  [[nodiscard]] ExpertProducts products(std::span<switchyard::RowBlock const> blocks) const;
  /// out = input times the matrices' transposes, of the row dtype.
  void layer(ExpertCall const& call, RowOperand const& input, WeightOperand const& weights, std::int64_t columns,
             std::int64_t steps, void* out);
  /// out = left times the matrices. @param result type of `out`
  void through(ExpertCall const& call, void const* left, void const* matrices, std::int64_t columns, std::int64_t steps,
               void* out, cudaDataType_t result);
  /// out[expert] = left^T right over the expert's rows, floats; nothing without `out`
  void over_rows(ExpertCall const& call, void const* left, std::int64_t rows, void const* right, std::int64_t columns,
                 TensorView const& out);
  void first_layer(ExpertCall const& call, RowOperand const& input, std::int64_t rows);
};

void const* FastExperts::State::weigh(ExpertCall const& call, std::int64_t rows) {
  if (call.row_weights.empty()) return call.rows.data();
  void* const out = reserve(weighted, rows, mlp.hidden);
  launch_fast_weigh(call.blocks, {mlp.dtype, mlp.hidden, call.rows.data(), call.row_weights.data(), out}, stream);
  return out;
}

RowOperand FastExperts::State::quantized(QuantSpec spec, std::optional<float> scale, void const* values,
                                         std::int64_t rows, std::int64_t columns, CodeScratch& to) const {
  if (scale) spec.given_scale = *scale;
  QuantSizes const sizes = quant_sizes(spec.layout(), rows, columns);
  auto* const codes = static_cast<std::byte*>(to.codes.reserve(sizes.code_bytes));
  auto* const row_scales = static_cast<std::byte*>(to.scales.reserve(sizes.scale_bytes));
  launch_quantize(spec, {values, mlp.dtype, rows, columns, codes, row_scales}, stream);
  return {codes, reinterpret_cast<float const*>(row_scales)};
}

RowOperand FastExperts::State::first_input(ExpertCall const& call, std::int64_t rows) {
  if (call.row_codes != nullptr)
    return {call.row_codes->codes.data(), reinterpret_cast<float const*>(call.row_codes->scales.data())};
  void const* const input = weigh(call, rows);
  if (scales == ScaleSpan::none) return {input};
  return quantized(*mlp.input_quant, call.a1_scale, input, rows, mlp.hidden, row_codes);
}

FastActivationJob FastExperts::State::activation_job(std::int64_t rows) {
  FastActivationJob job;
  job.dtype = mlp.dtype;
  job.units = mlp.local_units();
  job.spec = mlp.activation;
  job.gate_rounding = mlp.rounding.gate;
  job.hidden = reserve(hidden, rows, mlp.first_layer_outputs());
  job.activation = reserve(activation, rows, mlp.local_units());
  return job;
}

RowOperand FastExperts::State::second_input(ExpertCall const& call, std::int64_t rows) {
  FastActivationJob const job = activation_job(rows);
  launch_fast_activation(call.blocks, job, stream);
  if (scales == ScaleSpan::none) return {job.activation};
  return quantized(*mlp.activation_quant, call.a2_scale, job.activation, rows, mlp.local_units(), activation_codes);
}

ExpertProducts FastExperts::State::products(std::span<switchyard::RowBlock const> blocks) const {
  ExpertProducts on;
  on.blocks = blocks;
  on.operands = cublas_type(mlp.dtype);
  on.result = on.operands;
  return on;
}

std::vector<float const*> FastExperts::State::left_scales(std::span<switchyard::RowBlock const> blocks,
                                                          float const* of_rows) {
  if (scales == ScaleSpan::matrix) return std::vector<float const*>(blocks.size(), of_rows);
  constexpr std::int64_t kFloatsPer16Bytes = 4;
  std::vector<std::int64_t> first;
  std::int64_t total = 0;
  for (auto const& block : blocks) {
    first.push_back(total);
    total += (block.rows + kFloatsPer16Bytes - 1) / kFloatsPer16Bytes * kFloatsPer16Bytes;
  }
  float* const aligned = aligned_scales.reserve_elements<float>(total);
  launch_gather_blocks(blocks, first, of_rows, aligned, stream);
  std::vector<float const*> scales_of;
  for (std::int64_t const begin : first) scales_of.push_back(aligned + begin);
  return scales_of;
}

void FastExperts::State::layer(ExpertCall const& call, RowOperand const& input, WeightOperand const& weights,
                               std::int64_t columns, std::int64_t steps, void* out) {
  ExpertProducts on = products(call.blocks);
  on.columns = columns;
  on.steps = steps;
  on.left = input.data;
  on.right = weights.plain;
  on.out = out;
  on.scales = scales;
  std::vector<float const*> row_scales;
  if (scales != ScaleSpan::none) {
    on.operands = CUDA_R_8F_E4M3;
    row_scales = left_scales(call.blocks, input.scales);
    on.left_scales = row_scales;
    on.right_matrices = weights.codes;
    on.right_scales = weights.scales;
  }
  matmul.multiply(on, stream);
}

void FastExperts::State::through(ExpertCall const& call, void const* left, void const* matrices, std::int64_t columns,
                                 std::int64_t steps, void* out, cudaDataType_t result) {
  ExpertProducts on = products(call.blocks);
  on.lines = ChainLines::right_across;
  on.result = result;
  on.columns = columns;
  on.steps = steps;
  on.left = left;
  on.right = matrices;
  on.out = out;
  matmul.multiply(on, stream);
}

void FastExperts::State::over_rows(ExpertCall const& call, void const* left, std::int64_t rows, void const* right,
                                   std::int64_t columns, TensorView const& out) {
  if (out.data() == nullptr) return;
  ExpertProducts on = products(call.blocks);
  on.lines = ChainLines::both_across;
  on.result = CUDA_R_32F;
  on.rows = rows;
  on.columns = columns;
  on.left = left;
  on.right = right;
  on.out = out.data();
  matmul.multiply(on, stream);
}

void FastExperts::State::first_layer(ExpertCall const& call, RowOperand const& input, std::int64_t rows) {
  std::int64_t const outputs = mlp.first_layer_outputs();
  layer(call, input, {call.weights.w1, call.weights.w1_codes}, outputs, mlp.hidden, reserve(hidden, rows, outputs));
}

FastExperts::FastExperts(ExpertMlp const& mlp, StreamView stream) {
  ScaleSpan const scales = require_fast_mlp(mlp);
  state_ = std::make_unique<State>();
  state_->mlp = mlp;
  state_->stream = stream;
  state_->scales = scales;
  ExpertProducts probe = state_->products({});
  if (scales != ScaleSpan::none) probe.operands = CUDA_R_8F_E4M3;
  probe.scales = scales;
  probe.columns = mlp.first_layer_outputs();
  probe.steps = mlp.hidden;
  state_->matmul.require_offered(probe);
}
FastExperts::~FastExperts() = default;

ExpertMlp const& FastExperts::mlp() const noexcept {
  return state_->mlp;
}

void FastExperts::apply(ExpertCall const& call, std::span<std::byte>) const {
  NvtxRange const range("experts");
  State& on = *state_;
  std::int64_t const rows = require_fast_call(on.mlp, on.scales, call);
  if (rows == 0) return;
  on.first_layer(call, on.first_input(call, rows), rows);
  on.layer(call, on.second_input(call, rows), {call.weights.w2, call.weights.w2_codes}, on.mlp.hidden,
           on.mlp.local_units(), call.output.data());
}

void FastExperts::backward(ExpertGradientCall const& call, std::span<std::byte>) const {
  NvtxRange const range("experts backward");
  State& on = *state_;
  ExpertCall const& forward = call.forward;
  std::int64_t const rows = require_fast_gradient(on.mlp, on.scales, call);
  std::int64_t const units = on.mlp.local_units();
  std::int64_t const outputs = on.mlp.first_layer_outputs();
  cudaDataType_t const type = cublas_type(on.mlp.dtype);
  RowOperand const input = on.first_input(forward, rows);
  on.first_layer(forward, input, rows);
  FastGradientJob job;
  job.forward = on.activation_job(rows);
  auto* const d_activation = on.d_activation.reserve_elements<float>(checked_mul(rows, units));
  on.through(forward, call.d_output.data(), forward.weights.w2.data(), units, on.mlp.hidden, d_activation, CUDA_R_32F);
  job.d_activation = d_activation;
  job.d_hidden = on.reserve(on.d_hidden, rows, outputs);
  launch_fast_gradient(forward.blocks, job, on.stream);
  on.over_rows(forward, call.d_output.data(), on.mlp.hidden, job.forward.activation, units, call.d_w2);
  on.over_rows(forward, job.d_hidden, outputs, input.data, on.mlp.hidden, call.d_w1);
  on.through(forward, job.d_hidden, forward.weights.w1.data(), on.mlp.hidden, outputs, call.d_rows.data(), type);
}

}  // namespace switchyard::cuda
