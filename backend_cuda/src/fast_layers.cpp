// SPDX-License-Identifier: Apache-2.0
#include "fast_layers.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "cuda_error.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

std::int64_t rounded_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

std::int64_t blocks_of_scales(std::int64_t extent) {
  return rounded_up(extent, kScaleBlock) / kScaleBlock;
}

bool is_aligned(float const* scales) {
  return reinterpret_cast<std::uintptr_t>(scales) % (kScalePadding * sizeof(float)) == 0;
}

/// One behind the last row of all blocks.
std::int64_t end_of(std::span<switchyard::RowBlock const> blocks) {
  std::int64_t end = 0;
  for (auto const& block : blocks) end = std::max(end, block.rows == 0 ? 0 : block.first_row + block.rows);
  return end;
}

bool same_rows(std::span<switchyard::RowBlock const> a, std::span<switchyard::RowBlock const> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](auto const& x, auto const& y) { return x.rows == y.rows; });
}

}  // namespace

cudaDataType_t cublas_type(DType dtype) {
  if (dtype == DType::f32) return CUDA_R_32F;
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

WeightOperand::WeightOperand(ConstTensorView const& weights, std::span<QuantizedView const> coded,
                             ConstTensorView const& added)
    : plain(weights.data()), bias(added) {
  for (QuantizedView const& matrix : coded) {
    codes.push_back(matrix.codes.data());
    scales.push_back(reinterpret_cast<float const*>(matrix.scales.data()));
  }
}

FastRows::FastRows(std::span<switchyard::RowBlock const> of, std::int64_t rows, ScaleSpan scales)
    : blocks(of), count(rows), packed(scales == ScaleSpan::block) {
  if (scales == ScaleSpan::none || scales == ScaleSpan::matrix) return;
  for (auto const& block : of) {
    padded.push_back({padded_count, rounded_up(block.rows, kScalePadding)});
    padded_count += padded.back().rows;
  }
}

std::vector<switchyard::RowBlock> FastRows::multiplied(std::span<switchyard::RowBlock const> of) const {
  std::vector<switchyard::RowBlock> taken(of.begin(), of.end());
  for (std::size_t i = 0; packed && i < taken.size(); ++i) taken[i].rows = padded[i].rows;
  return taken;
}

std::int64_t FastRows::read() const {
  return std::max(count, end_of(multiplied(blocks)));
}

FastLayers::FastLayers(ExpertMlp const& mlp, ScaleSpan scales, StreamView stream)
    : mlp_(mlp), scales_(scales), stream_(stream) {
  require_products();
}

ExpertProducts FastLayers::products(std::span<switchyard::RowBlock const> blocks) const {
  ExpertProducts on;
  on.blocks = blocks;
  on.operands = scales_ == ScaleSpan::none ? cublas_type(mlp_.dtype) : CUDA_R_8F_E4M3;
  on.scales = scales_;
  on.result = cublas_type(mlp_.dtype);
  return on;
}

void FastLayers::require_products() {
  ExpertProducts on = products({});
  on.columns = mlp_.first_layer_outputs();
  on.steps = mlp_.hidden;
  if (on.columns > 0 && on.steps > 0) matmul_.require_offered(on);
  on.columns = mlp_.hidden;
  on.steps = mlp_.local_units();
  on.result = cublas_type(joined_dtype());
  if (on.columns > 0 && on.steps > 0) matmul_.require_offered(on);
}

bool FastLayers::in_epilogue(ConstTensorView const& bias, DType result) const noexcept {
  return bias.dtype() == result && (scales_ == ScaleSpan::none || scales_ == ScaleSpan::matrix);
}

void FastLayers::require_biases(ExpertWeights const& weights) {
  ExpertProducts on = products({});
  auto const require = [&](ConstTensorView const& bias, std::int64_t columns, std::int64_t steps) {
    if (bias.data() == nullptr || columns == 0 || steps == 0) return;
    bool const fused = in_epilogue(bias, mlp_.dtype);
    on.columns = columns;
    on.steps = steps;
    on.bias = fused ? bias.data() : nullptr;
    on.result = fused ? cublas_type(mlp_.dtype) : CUDA_R_32F;
    matmul_.require_offered(on);
  };
  require(weights.b1, mlp_.first_layer_outputs(), mlp_.hidden);
  if (mlp_.tp.size == 1) require(weights.b2, mlp_.hidden, mlp_.local_units());
}

void* FastLayers::reserve(DeviceScratch& memory, std::int64_t rows, std::int64_t columns) const {
  return memory.reserve(checked_mul(checked_mul(rows, columns), size_of(mlp_.dtype)));
}

void const* FastLayers::weigh(ExpertCall const& call, std::int64_t rows) {
  if (call.row_weights.empty()) return call.rows.data();
  void* const out = reserve(weighted_, rows, mlp_.hidden);
  launch_fast_weigh(call.blocks, {mlp_.dtype, mlp_.hidden, call.rows.data(), call.row_weights.data(), out}, stream_);
  return out;
}

void FastLayers::clear_padding(void* codes, std::int64_t rows, std::int64_t rows_read, std::int64_t columns) {
  if (rows_read == rows) return;
  SWITCHYARD_CUDA_TRY(cudaMemsetAsync(static_cast<std::byte*>(codes) + rows * columns, 0,
                                      to_size((rows_read - rows) * columns), stream_.handle()));
}

RowOperand FastLayers::quantised(QuantSpec spec, std::optional<float> scale, void const* values, std::int64_t rows,
                                 std::int64_t columns, std::int64_t rows_read, CodeScratch& to) {
  if (scale) spec.given_scale = *scale;
  QuantSizes const sizes = quant_sizes(spec.layout(), rows, columns);
  auto* const codes = static_cast<std::byte*>(to.codes.reserve(checked_mul(rows_read, columns)));
  auto* const row_scales = static_cast<std::byte*>(to.scales.reserve(sizes.scale_bytes));
  launch_quantize(spec, {values, mlp_.dtype, rows, columns, codes, row_scales}, stream_);
  clear_padding(codes, rows, rows_read, columns);
  return {codes, reinterpret_cast<float const*>(row_scales)};
}

RowOperand FastLayers::brought_codes(QuantizedView const& codes, std::int64_t rows_read) {
  auto const* const scales = reinterpret_cast<float const*>(codes.scales.data());
  if (rows_read == codes.rows) return {codes.codes.data(), scales};
  void* const copied = row_codes_.codes.reserve(checked_mul(rows_read, codes.columns));
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(copied, codes.codes.data(), codes.codes.size(), cudaMemcpyDeviceToDevice, stream_.handle()));
  clear_padding(copied, codes.rows, rows_read, codes.columns);
  return {copied, scales};
}

RowOperand FastLayers::first_input(ExpertCall const& call, FastRows const& rows) {
  if (call.row_codes != nullptr) return brought_codes(*call.row_codes, rows.read());
  void const* const input = weigh(call, rows.count);
  if (scales_ == ScaleSpan::none) return {input};
  return quantised(*mlp_.input_quant, call.a1_scale, input, rows.count, mlp_.hidden, rows.read(), row_codes_);
}

FastActivationJob FastLayers::activation_job(FastRows const& rows) {
  FastActivationJob job;
  job.dtype = mlp_.dtype;
  job.units = mlp_.local_units();
  job.spec = mlp_.activation;
  job.gate_rounding = mlp_.rounding.gate;
  job.hidden = reserve(hidden_, rows.inner_count(), mlp_.first_layer_outputs());
  job.activation = reserve(activation_, rows.inner_count(), mlp_.local_units());
  return job;
}

RowOperand FastLayers::second_input(ExpertCall const& call, FastRows const& rows) {
  FastActivationJob const job = activation_job(rows);
  launch_fast_activation(rows.inner(), job, stream_);
  if (scales_ == ScaleSpan::none) return {job.activation};
  std::int64_t const count = rows.inner_count();
  return quantised(*mlp_.activation_quant, call.a2_scale, job.activation, count, mlp_.local_units(), count,
                   activation_codes_);
}

std::vector<float const*> FastLayers::left_scales(InputRows const& input, FastRows const& rows, std::int64_t steps) {
  if (scales_ == ScaleSpan::matrix) return std::vector<float const*>(input.blocks.size(), input.operand.scales);
  RowScaleJob job;
  job.groups = scales_ == ScaleSpan::line ? 1 : blocks_of_scales(steps);
  job.from = input.operand.scales;
  job.to = row_scales_.reserve_elements<float>(checked_mul(rows.padded_count, job.groups));
  launch_pack_row_scales(input.blocks, rows.padded, job, stream_);
  std::vector<float const*> of_blocks;
  for (auto const& block : rows.padded) of_blocks.push_back(job.to + block.first_row * job.groups);
  return of_blocks;
}

std::vector<float const*> FastLayers::right_scales(WeightOperand const& weights, std::int64_t columns,
                                                   std::int64_t steps) {
  if (scales_ == ScaleSpan::matrix) return weights.scales;
  ScaleLinesJob job;
  job.lines = scales_ == ScaleSpan::line ? 1 : blocks_of_scales(columns);
  job.columns = scales_ == ScaleSpan::line ? columns : blocks_of_scales(steps);
  job.stride = rounded_up(job.columns, kScalePadding);
  if (job.stride == job.columns && std::all_of(weights.scales.begin(), weights.scales.end(), is_aligned))
    return weights.scales;
  std::int64_t const size = checked_mul(job.lines, job.stride);
  job.to = weight_scales_.reserve_elements<float>(checked_mul(static_cast<std::int64_t>(weights.scales.size()), size));
  launch_spread_scale_lines(weights.scales, job, stream_);
  std::vector<float const*> of_experts;
  for (std::size_t i = 0; i < weights.scales.size(); ++i)
    of_experts.push_back(job.to + static_cast<std::int64_t>(i) * size);
  return of_experts;
}

void FastLayers::layer(InputRows const& input, FastRows const& rows, WeightOperand const& weights, std::int64_t columns,
                       std::int64_t steps, ResultRows const& out) {
  std::vector<switchyard::RowBlock> const taken = rows.multiplied(input.blocks);
  bool const biased = weights.bias.data() != nullptr;
  bool const direct = same_rows(taken, out.blocks) && (!biased || in_epilogue(weights.bias, out.dtype));
  std::span<switchyard::RowBlock const> const sums_at = rows.packed ? std::span(rows.padded) : input.blocks;
  ExpertProducts on = products(taken);
  on.columns = columns;
  on.steps = steps;
  on.left = input.operand.data;
  on.right = weights.plain;
  DType const held = biased && !direct ? DType::f32 : out.dtype;  // a bias is added before the one rounding
  on.result = cublas_type(held);
  on.out = direct ? out.data : sums_.reserve(checked_mul(checked_mul(end_of(sums_at), columns), size_of(held)));
  if (rows.packed) on.out_blocks = direct ? out.blocks : sums_at;
  if (direct && biased) on.bias = weights.bias.data();
  std::vector<float const*> of_rows;
  std::vector<float const*> of_weights;
  if (scales_ != ScaleSpan::none) {
    on.left_scales = of_rows = left_scales(input, rows, steps);
    on.right_scales = of_weights = right_scales(weights, columns, steps);
    on.right_matrices = weights.codes;
  }
  matmul_.multiply(on, stream_);
  if (direct) return;
  FastFinishJob job{out.dtype, columns, on.out, held};
  job.out = out.data;
  if (biased) job.bias = weights.bias.data();
  job.bias_dtype = weights.bias.dtype();
  launch_fast_finish(sums_at, out.blocks, job, stream_);
}

void FastLayers::first_layer(ExpertCall const& call, RowOperand const& input, FastRows const& rows) {
  std::int64_t const outputs = mlp_.first_layer_outputs();
  WeightOperand const weights(call.weights.w1, call.weights.w1_codes, call.weights.b1);
  void* const hidden = reserve(hidden_, rows.inner_count(), outputs);
  layer({input, rows.blocks}, rows, weights, outputs, mlp_.hidden, {hidden, mlp_.dtype, rows.inner()});
}

void FastLayers::second_layer(ExpertCall const& call, FastRows const& rows) {
  // A partial gets its bias where partials are joined.
  ConstTensorView const bias = mlp_.tp.size == 1 ? call.weights.b2 : ConstTensorView();
  WeightOperand const weights(call.weights.w2, call.weights.w2_codes, bias);
  layer({second_input(call, rows), rows.inner()}, rows, weights, mlp_.hidden, mlp_.local_units(),
        {call.output.data(), joined_dtype(), rows.blocks});
}

}  // namespace switchyard::cuda
