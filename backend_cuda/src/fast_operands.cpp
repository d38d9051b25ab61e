// SPDX-License-Identifier: Apache-2.0
#include "fast_operands.hpp"

#include <string_view>

#include "switchyard/internal/expert_operands.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

ScaleSpan span_of(QuantSpec const& spec, std::string_view name) {
  if (spec.scheme == QuantScheme::fp8_tensor) return ScaleSpan::matrix;
  if (spec.scheme == QuantScheme::fp8_token) return ScaleSpan::line;
  QuantLayout const layout = spec.layout();
  SWITCHYARD_REQUIRE(
      spec.scheme != QuantScheme::fp8_tensor_dynamic && layout.code == CodeFormat::e4m3 &&
          layout.scale == ScaleFormat::f32 && layout.group_columns == kScaleBlock,
      unsupported,
      "the fast engine with {} of {} by groups of {}: fp8_tensor, fp8_token, and fp8_group or fp8_deepep "
      "by groups of {} are offered; use the exact engine",
      name, to_string(spec.scheme), layout.group_columns, kScaleBlock);
  return ScaleSpan::block;
}

void require_code_extent(std::int64_t extent, std::string_view name) {
  constexpr std::int64_t kStep = 16;
  SWITCHYARD_REQUIRE(
      extent % kStep == 0, unsupported,
      "the fast engine with codes and {} {}: tensor cores take e4m3 lines of a multiple of {}; pad it, or "
      "use the exact engine",
      name, extent, kStep);
}

ScaleSpan require_codes_offered(ExpertMlp const& mlp) {
  if (!mlp.input_quant && !mlp.activation_quant) return ScaleSpan::none;
  SWITCHYARD_REQUIRE(mlp.input_quant && mlp.activation_quant, unsupported,
                     "the fast engine with codes of {} only: both products take codes, or none; use the exact engine",
                     mlp.input_quant ? "rows" : "activations");
  ScaleSpan const scales = span_of(*mlp.input_quant, "rows");
  SWITCHYARD_REQUIRE(span_of(*mlp.activation_quant, "activations") == scales, unsupported,
                     "the fast engine with rows of {} and activations of {}: one scheme for both",
                     to_string(mlp.input_quant->scheme), to_string(mlp.activation_quant->scheme));
  SWITCHYARD_REQUIRE(
      mlp.dtype == DType::bf16 || (mlp.dtype == DType::f16 && scales != ScaleSpan::line), unsupported,
      "the fast engine with codes and rows of {}: results of e4m3 products are bf16, unless with a scale "
      "per line also f16",
      to_string(mlp.dtype));
  require_code_extent(mlp.hidden, "hidden size");
  require_code_extent(mlp.local_units(), "intermediate size");
  return scales;
}

void require_rows(ConstTensorView const& view, std::string_view name, ExpertMlp const& mlp, std::int64_t rows) {
  internal::require_matrix(view, name, rows, mlp.hidden, MemorySpace::device);
  SWITCHYARD_REQUIRE(view.data() == nullptr || view.dtype() == mlp.dtype, unsupported,
                     "{} is {}, rows are {}: the fast engine takes one dtype", name, to_string(view.dtype()),
                     to_string(mlp.dtype));
}

/// Rows that TP ranks join: floats, when there are several.
void require_joined(ConstTensorView const& view, std::string_view name, ExpertMlp const& mlp, std::int64_t rows) {
  if (mlp.tp.size == 1) return require_rows(view, name, mlp, rows);
  internal::require_matrix(view, name, rows, mlp.hidden, MemorySpace::device);
  SWITCHYARD_REQUIRE(view.data() == nullptr || view.dtype() == DType::f32, shape_mismatch,
                     "{} is {}: a partial of TP size {} is f32", name, to_string(view.dtype()), mlp.tp.size);
}

bool has_scales(QuantLayout const& layout, std::int64_t rows, std::int64_t columns) {
  return layout.group_rows == rows && layout.group_columns == columns;
}

/// Whether the layout's scales are those of the span. @param block_rows rows of a block of scales
bool fits(QuantizedView const& matrix, ScaleSpan scales, std::int64_t block_rows) {
  QuantLayout const& layout = matrix.layout;
  if (scales == ScaleSpan::block) return has_scales(layout, block_rows, kScaleBlock);
  bool const whole_columns = layout.group_columns == 0 || layout.group_columns >= matrix.columns;
  bool const whole_rows = layout.group_rows == 0 || layout.group_rows >= matrix.rows;
  return whole_columns && (scales == ScaleSpan::matrix ? whole_rows : layout.group_rows == 1);
}

std::string_view extent_of(ScaleSpan scales, std::int64_t block_rows) {
  if (scales == ScaleSpan::block) return block_rows == 1 ? "1 x 128 codes" : "128 x 128 codes";
  return scales == ScaleSpan::matrix ? "matrix" : "line";
}

/// e4m3 with scales of the extent that the engine was made for. @param block_rows rows of a block of scales
void require_layout(QuantizedView const& matrix, std::string_view name, ScaleSpan scales, std::int64_t block_rows) {
  QuantLayout const& layout = matrix.layout;
  SWITCHYARD_REQUIRE(layout.code == CodeFormat::e4m3 && layout.scale == ScaleFormat::f32 && !layout.tensor_scale &&
                         fits(matrix, scales, block_rows),
                     unsupported,
                     "{} holds {} codes with a {} scale per {} x {}: this fast engine takes e4m3 with an f32 scale per "
                     "{}; use the exact engine",
                     name, to_string(layout.code), to_string(layout.scale), layout.group_rows, layout.group_columns,
                     extent_of(scales, block_rows));
}

void require_weights(ExpertMlp const& mlp, ScaleSpan scales, ExpertWeights const& weights) {
  internal::require_weights(mlp, weights, MemorySpace::device);
  bool const coded = !weights.w1_codes.empty() && !weights.w2_codes.empty();
  SWITCHYARD_REQUIRE(scales == ScaleSpan::none ? weights.w1_codes.empty() && weights.w2_codes.empty()
                                               : coded || mlp.num_local_experts == 0,
                     unsupported, "the fast engine made for {} was given {} weights",
                     scales == ScaleSpan::none ? "plain rows" : "codes", coded ? "coded" : "plain or mixed");
  for (QuantizedView const& matrix : weights.w1_codes) require_layout(matrix, "w1", scales, kScaleBlock);
  for (QuantizedView const& matrix : weights.w2_codes) require_layout(matrix, "w2", scales, kScaleBlock);
  if (scales != ScaleSpan::none) return;
  for (auto const& [view, name] : {std::pair{weights.w1, "w1"}, std::pair{weights.w2, "w2"}})
    SWITCHYARD_REQUIRE(view.data() == nullptr || view.dtype() == mlp.dtype, unsupported,
                       "{} is {}, rows are {}: the fast engine takes one dtype", name, to_string(view.dtype()),
                       to_string(mlp.dtype));
}

void require_blocks(ExpertMlp const& mlp, std::span<switchyard::RowBlock const> blocks, std::int64_t rows) {
  SWITCHYARD_REQUIRE(static_cast<int>(blocks.size()) == mlp.num_local_experts, shape_mismatch,
                     "{} blocks for {} local experts", blocks.size(), mlp.num_local_experts);
  for (auto const& block : blocks)
    SWITCHYARD_REQUIRE(block.rows >= 0 && block.first_row >= 0 && block.first_row <= rows - block.rows,
                       invalid_argument, "local expert {} has rows [{}, {} + {}) of {}", &block - blocks.data(),
                       block.first_row, block.first_row, block.rows, rows);
}

std::int64_t require_inputs(ExpertMlp const& mlp, ScaleSpan scales, ExpertCall const& call) {
  require_weights(mlp, scales, call.weights);
  std::int64_t const rows = call.row_codes != nullptr ? call.row_codes->rows : internal::matrix_rows(call.rows);
  if (call.row_codes != nullptr) {
    SWITCHYARD_REQUIRE(
        scales != ScaleSpan::none && call.row_weights.empty(), unsupported,
        "the fast engine was given codes of rows, but {}",
        scales == ScaleSpan::none ? "was made for plain rows" : "also router weights to multiply them with");
    internal::require_codes({call.row_codes, 1}, "row_codes", 1, rows, mlp.hidden);
    require_layout(*call.row_codes, "row_codes", scales, 1);
  } else {
    require_rows(call.rows, "rows", mlp, rows);
  }
  SWITCHYARD_REQUIRE(call.row_weights.empty() || static_cast<std::int64_t>(call.row_weights.size()) == rows,
                     shape_mismatch, "{} router weights for {} rows", call.row_weights.size(), rows);
  require_blocks(mlp, call.blocks, rows);
  return rows;
}

void require_gradient(TensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns) {
  if (view.data() == nullptr) return;
  internal::require_matrix(view, name, rows, columns, MemorySpace::device);
  SWITCHYARD_REQUIRE(view.dtype() == DType::f32, shape_mismatch, "{} is {}, wanted f32", name, to_string(view.dtype()));
}

}  // namespace

ScaleSpan require_fast_mlp(ExpertMlp const& mlp) {
  mlp.validate();
  SWITCHYARD_REQUIRE(mlp.rounding.hidden == mlp.dtype && mlp.rounding.activation == mlp.dtype, unsupported,
                     "the fast engine stores hidden values and activations as {}, but they are rounded to {} and {}: "
                     "use ExpertRounding::every_store",
                     to_string(mlp.dtype), to_string(mlp.rounding.hidden), to_string(mlp.rounding.activation));
  return require_codes_offered(mlp);
}

std::int64_t require_fast_call(ExpertMlp const& mlp, ScaleSpan scales, ExpertCall const& call) {
  std::int64_t const rows = require_inputs(mlp, scales, call);
  require_joined(call.output, "output", mlp, rows);
  return rows;
}

std::int64_t require_fast_gradient(ExpertMlp const& mlp, ScaleSpan scales, ExpertGradientCall const& call) {
  SWITCHYARD_REQUIRE(scales == ScaleSpan::none, unsupported,
                     "a backward through quantised weights or rows: train on plain ones");
  std::int64_t const rows = require_inputs(mlp, scales, call.forward);
  std::int64_t const experts = mlp.num_local_experts;
  require_rows(call.d_output, "d_output", mlp, rows);
  require_joined(call.d_rows, "d_rows", mlp, rows);
  require_gradient(call.d_w1, "d_w1", checked_mul(experts, mlp.first_layer_outputs()), mlp.hidden);
  require_gradient(call.d_w2, "d_w2", checked_mul(experts, mlp.hidden), mlp.local_units());
  require_gradient(call.d_b1, "d_b1", experts, mlp.first_layer_outputs());
  require_gradient(call.d_b2, "d_b2", experts, mlp.hidden);
  return rows;
}

}  // namespace switchyard::cuda
