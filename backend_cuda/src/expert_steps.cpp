// SPDX-License-Identifier: Apache-2.0
#include "expert_steps.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

CodeSpace take_codes(Workspace& arena, std::optional<QuantSpec> const& spec, std::int64_t rows, std::int64_t columns) {
  if (!spec) return {};
  QuantSizes const sizes = quant_sizes(spec->layout(), rows, columns);
  return {arena.take<std::byte>("codes", sizes.code_bytes), arena.take<std::byte>("scales", sizes.scale_bytes)};
}

ChainOperand weight_operand(ConstTensorView const& plain, DeviceBuffer const& codes, std::int64_t rows,
                            std::int64_t columns) {
  ChainOperand operand;
  operand.data = plain.data();
  operand.dtype = plain.dtype();
  operand.stride = columns;
  operand.expert_stride = std::max<std::int64_t>(rows * columns, 1);  // 0 would mean rows of a block
  if (codes.size_bytes() > 0) operand.expert_codes = codes.as<CodedMatrix const>();
  return operand;
}

ChainOperand coded_rows(QuantizedView const& codes) {
  ChainOperand operand;
  operand.row_codes = coded_matrix(codes);
  return operand;
}

}  // namespace

ExpertSpace ExpertSpace::take(Workspace& arena, ExpertMlp const& mlp, std::int64_t rows, bool backward) {
  std::int64_t const units = mlp.local_units();
  ExpertSpace space;
  space.weighted =
      arena.take<std::byte>("weighted rows", checked_mul(checked_mul(rows, mlp.hidden), size_of(mlp.dtype)));
  space.input = take_codes(arena, mlp.input_quant, rows, mlp.hidden);
  space.hidden = arena.take<float>("hidden", checked_mul(rows, mlp.first_layer_outputs()));
  space.activation = arena.take<float>("activation", checked_mul(rows, units));
  space.activation_codes = take_codes(arena, mlp.activation_quant, rows, units);
  if (!backward) return space;
  space.d_activation = arena.take<float>("d activation", checked_mul(rows, units));
  space.d_hidden = arena.take<float>("d hidden", checked_mul(rows, mlp.first_layer_outputs()));
  return space;
}

ChainProduct ExpertRun::product(std::int64_t columns, std::int64_t steps) const {
  ChainProduct product;
  product.blocks = call.blocks;
  product.experts = mlp.num_local_experts;
  product.total_rows = call.total_rows;
  product.columns = columns;
  product.steps = steps;
  return product;
}

ActivationJob ExpertRun::activation_job() const {
  ActivationJob job;
  job.blocks = call.blocks;
  job.experts = mlp.num_local_experts;
  job.total_rows = call.total_rows;
  job.units = mlp.local_units();
  job.spec = mlp.activation;
  job.rounding = mlp.rounding;
  job.hidden = space.hidden.data();
  job.activation = space.activation.data();
  return job;
}

ChainOperand ExpertRun::input_rows() const {
  ChainOperand operand;
  operand.data = call.row_weights == nullptr ? call.rows.data() : space.weighted.data();
  operand.dtype = mlp.dtype;
  operand.stride = mlp.hidden;
  operand.map = map;
  return operand;
}

void ExpertRun::weigh_rows() const {
  if (call.row_weights == nullptr) return;
  launch_weigh_blocks({call.blocks, mlp.num_local_experts, call.total_rows, mlp.hidden, mlp.dtype, call.rows.data(),
                       call.row_weights, space.weighted.data()},
                      stream);
}

ChainOperand ExpertRun::quantized(QuantSpec spec, std::optional<float> scale, void const* values, DType dtype,
                                  std::int64_t columns, CodeSpace const& to) const {
  if (scale) spec.given_scale = *scale;
  launch_quantize(spec, {values, dtype, call.total_rows, columns, to.codes.data(), to.scales.data()}, stream);
  return coded_rows({spec.layout(), call.total_rows, columns, to.codes, to.scales, {}, spec.tensor_scale});
}

void ExpertRun::multiply(ChainProduct const& product, bool rows_int8, bool weights_int8) const {
  if (rows_int8 && weights_int8) return launch_int8_product(product, stream);
  if (product.left.coded() || product.right.coded()) return launch_coded_product(product, stream);
  launch_chain_product(ChainLines::both_along, product, stream);
}

void ExpertRun::first_layer() const {
  std::int64_t const outputs = mlp.first_layer_outputs();
  ChainProduct layer = product(outputs, mlp.hidden);
  bool rows_int8 = false;
  if (call.row_codes != nullptr) {
    layer.left = coded_rows(*call.row_codes);
    rows_int8 = is_int8(*call.row_codes);
  } else {
    weigh_rows();
    layer.left = input_rows();
    if (mlp.input_quant) {
      layer.left = quantized(*mlp.input_quant, call.a1_scale, layer.left.data, mlp.dtype, mlp.hidden, space.input);
      rows_int8 = mlp.input_quant->layout().code == CodeFormat::int8;
    }
  }
  layer.right = weight_operand(weights.views.w1, weights.w1_codes, outputs, mlp.hidden);
  layer.out.data = space.hidden.data();
  layer.out.stride = outputs;
  layer.out.bias = weights.views.b1.data();
  layer.out.bias_dtype = weights.views.b1.dtype();
  layer.out.rounding = mlp.rounding.hidden;
  multiply(layer, rows_int8, weights.w1_int8);
}

void ExpertRun::activate() const {
  launch_activation(activation_job(), stream);
}

void ExpertRun::second_layer() const {
  std::int64_t const units = mlp.local_units();
  ChainProduct layer = product(mlp.hidden, units);
  layer.left.data = space.activation.data();
  layer.left.stride = units;
  bool rows_int8 = false;
  if (mlp.activation_quant && units > 0) {
    layer.left = quantized(*mlp.activation_quant, call.a2_scale, space.activation.data(), DType::f32, units,
                           space.activation_codes);
    rows_int8 = mlp.activation_quant->layout().code == CodeFormat::int8;
  }
  layer.right = weight_operand(weights.views.w2, weights.w2_codes, mlp.hidden, units);
  std::vector<std::int64_t> const ends = mlp.block_ends();
  layer.segments = static_cast<int>(ends.size());
  std::copy(ends.begin(), ends.end(), layer.segment_ends);
  layer.out.data = call.output.data();
  layer.out.dtype = call.output.dtype();
  layer.out.stride = mlp.hidden;
  if (mlp.tp.size == 1) layer.out.bias = weights.views.b2.data();
  layer.out.bias_dtype = weights.views.b2.dtype();
  multiply(layer, rows_int8, weights.w2_int8);
}

}  // namespace switchyard::cuda
