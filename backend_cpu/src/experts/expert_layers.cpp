// SPDX-License-Identifier: Apache-2.0
#include "expert_layers.hpp"

#include <numeric>

#include "int8_product.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

std::byte const* bytes_at(ConstTensorView const& view, std::int64_t element) {
  return static_cast<std::byte const*>(view.data()) + element * size_of(view.dtype());
}

/// gate 0, up 0, gate 1, up 1, ... becomes all gates, then all ups.
void split_gates(float* row, std::int64_t units) {
  std::vector<float> const interleaved(row, row + 2 * units);
  for (std::int64_t i = 0; i < units; ++i) {
    row[i] = interleaved[to_size(2 * i)];
    row[units + i] = interleaved[to_size(2 * i + 1)];
  }
}

/// Panels of `rows` contiguous rows of floats.
void pack_float_rows(ExpertKernels const& kernels, std::span<float const> values, std::int64_t rows, std::int64_t steps,
                     std::span<float> panels) {
  pack_row_panels(kernels, {values.data(), DType::f32, steps, 1, rows, steps, nullptr}, panels.data());
}

}  // namespace

void const* WeightMatrix::row(std::int64_t index) const noexcept {
  return bytes_at(plain, (expert * rows + index) * columns);
}

WeightMatrix ExpertPass::first_weights() const {
  QuantizedView const* const codes = weights.w1_codes.empty() ? nullptr : &weights.w1_codes[to_size(expert)];
  return {weights.w1, codes, expert, mlp.first_layer_outputs(), mlp.hidden};
}

WeightMatrix ExpertPass::second_weights() const {
  QuantizedView const* const codes = weights.w2_codes.empty() ? nullptr : &weights.w2_codes[to_size(expert)];
  return {weights.w2, codes, expert, mlp.hidden, mlp.local_units()};
}

std::vector<float> expert_bias(ExpertKernels const& kernels, ConstTensorView const& bias, std::int64_t expert,
                               std::int64_t count) {
  if (bias.data() == nullptr) return {};
  std::vector<float> values(to_size(count));
  kernels.load(bytes_at(bias, expert * count), bias.dtype(), nullptr, values.data(), count);
  return values;
}

void pack_weight_rows(ExpertKernels const& kernels, WeightMatrix const& matrix, std::int64_t first, std::int64_t lanes,
                      float* panel) {
  PanelSource source{nullptr, DType::f32, matrix.columns, 1, lanes, matrix.columns, nullptr};
  if (matrix.codes == nullptr) {
    source.data = matrix.row(first);
    source.dtype = matrix.plain.dtype();
    return kernels.pack(source, kernels.tile_columns, panel);
  }
  std::vector<float> values(to_size(lanes * matrix.columns));
  for (std::int64_t lane = 0; lane < lanes; ++lane)
    dequantize_row(*matrix.codes, first + lane, 0,
                   std::span(values).subspan(to_size(lane * matrix.columns), to_size(matrix.columns)));
  source.data = values.data();
  kernels.pack(source, kernels.tile_columns, panel);
}

void load_input(ExpertPass const& pass, ExpertCall const& call, std::span<std::int64_t const> rows,
                std::span<float> input) {
  std::int64_t const hidden = pass.mlp.hidden;
  for_rows(pass.rows, hidden, [&](std::int64_t index) {
    std::int64_t const row = rows[to_size(index)];
    std::span<float> const to = input.subspan(to_size(index * hidden), to_size(hidden));
    float const* const weight = call.row_weights.empty() ? nullptr : &call.row_weights[to_size(row)];
    if (call.row_codes == nullptr)
      return pass.kernels.load(bytes_at(call.rows, row * hidden), pass.mlp.dtype, weight, to.data(), hidden);
    dequantize_row(*call.row_codes, row, 0, to);
  });
}

void store_rows(ExpertPass const& pass, std::span<float const> values, std::span<float const> bias,
                TensorView const& output, std::span<std::int64_t const> rows) {
  std::int64_t const hidden = pass.mlp.hidden;
  auto* const out = static_cast<std::byte*>(output.data());
  for_rows(pass.rows, hidden, [&](std::int64_t index) {
    pass.kernels.add_and_store(values.data() + index * hidden, bias.empty() ? nullptr : bias.data(), output.dtype(),
                               out + rows[to_size(index)] * hidden * size_of(output.dtype()), hidden);
  });
}

namespace {

/// Quantises [rows, columns] floats in place: to codes, or through codes back to floats when the product reads floats.
CodedRows through_codes(QuantSpec const& spec, bool keep_codes, std::int64_t rows, std::int64_t columns,
                        std::span<float> values) {
  CodedRows coded;
  if (rows == 0 || columns == 0) return coded;
  coded.own = quantize(spec, ConstTensorView(values.data(), DType::f32, {rows, columns}));
  if (keep_codes) {
    coded.rows.resize(to_size(rows));
    std::iota(coded.rows.begin(), coded.rows.end(), std::int64_t{0});
  } else {
    dequantize(coded.own.view(), values.first(to_size(rows * columns)));
  }
  return coded;
}

bool int8_weights(WeightMatrix const& matrix) {
  return matrix.codes != nullptr && is_int8(*matrix.codes);
}

/// The product of a layer, from codes on both sides or from floats.
struct LayerProduct {
  WeightMatrix matrix;
  std::span<float const> values;  ///< [pass.rows, matrix.columns]
  std::span<float> panels;
  std::span<std::int64_t const> block_ends;
  float* out;
};

void multiply_layer(ExpertPass const& pass, LayerProduct const& layer, CodedRows const& coded) {
  if (!coded.rows.empty()) {
    QuantizedView const own = coded.own.view();
    return multiply_int8(
        {coded.codes == nullptr ? own : *coded.codes, coded.rows, *layer.matrix.codes, layer.block_ends, layer.out});
  }
  std::int64_t const steps = layer.matrix.columns;
  pack_float_rows(pass.kernels, layer.values, pass.rows, steps, layer.panels);
  PanelProduct const product{layer.panels.data(), pass.rows, layer.matrix.rows, steps, layer.block_ends, layer.out};
  multiply(pass.kernels, product, [&](std::int64_t first, std::int64_t lanes, float* panel) {
    pack_weight_rows(pass.kernels, layer.matrix, first, lanes, panel);
  });
}

}  // namespace

CodedRows code_input(ExpertPass const& pass, ExpertCall const& call, std::span<std::int64_t const> rows,
                     std::span<float> input) {
  bool const keep = int8_weights(pass.first_weights());
  if (call.row_codes != nullptr && keep && is_int8(*call.row_codes))
    return {{}, call.row_codes, {rows.begin(), rows.end()}};
  load_input(pass, call, rows, input);
  if (call.row_codes != nullptr || !pass.mlp.input_quant) return {};
  bool const codes = keep && pass.mlp.input_quant->layout().code == CodeFormat::int8;
  return through_codes(*pass.mlp.input_quant, codes, pass.rows, pass.mlp.hidden, input);
}

CodedRows code_activation(ExpertPass const& pass, ExpertBuffers const& buffers) {
  if (!pass.mlp.activation_quant) return {};
  bool const codes =
      int8_weights(pass.second_weights()) && pass.mlp.activation_quant->layout().code == CodeFormat::int8;
  return through_codes(*pass.mlp.activation_quant, codes, pass.rows, pass.mlp.local_units(), buffers.activation);
}

void first_layer(ExpertPass const& pass, ExpertBuffers const& buffers, CodedRows const& coded) {
  std::int64_t const steps = pass.mlp.hidden;
  std::int64_t const outputs = pass.mlp.first_layer_outputs();
  multiply_layer(pass, {pass.first_weights(), buffers.input, buffers.input_panels, {&steps, 1}, buffers.hidden.data()},
                 coded);
  std::vector<float> const bias = expert_bias(pass.kernels, pass.weights.b1, pass.expert, outputs);
  for_rows(pass.rows, outputs, [&](std::int64_t row) {
    float* const values = buffers.hidden.data() + row * outputs;
    pass.kernels.add_and_round(values, bias.empty() ? nullptr : bias.data(), pass.mlp.rounding.hidden, outputs);
    if (pass.mlp.activation.layout == GateLayout::interleaved) split_gates(values, pass.mlp.local_units());
  });
}

GatedRow hidden_row(ExpertPass const& pass, ExpertBuffers const& buffers, std::int64_t row) {
  std::int64_t const units = pass.mlp.local_units();
  float const* const gate = buffers.hidden.data() + row * pass.mlp.first_layer_outputs();
  bool const gated = pass.mlp.activation.layout != GateLayout::plain;
  return {gate,
          gated ? gate + units : nullptr,
          units,
          pass.mlp.activation.limit,
          pass.mlp.rounding.gate,
          pass.mlp.rounding.activation};
}

void activate_hidden(ExpertPass const& pass, ExpertBuffers const& buffers) {
  std::int64_t const units = pass.mlp.local_units();
  for_rows(pass.rows, units, [&](std::int64_t row) {
    pass.kernels.activate(pass.mlp.activation.kind, hidden_row(pass, buffers, row),
                          buffers.activation.data() + row * units);
  });
}

void second_layer(ExpertPass const& pass, ExpertBuffers const& buffers, CodedRows const& coded) {
  std::vector<std::int64_t> const ends = pass.mlp.block_ends();
  multiply_layer(
      pass, {pass.second_weights(), buffers.activation, buffers.activation_panels, ends, buffers.output.data()}, coded);
}

}  // namespace switchyard::cpu
