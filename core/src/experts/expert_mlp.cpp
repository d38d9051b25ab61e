// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/expert_mlp.hpp"

#include <limits>

#include "switchyard/internal/require.hpp"

namespace switchyard {
namespace {

constexpr std::array<std::string_view, kAllActivations.size()> kActivationNames = {
    "silu", "gelu", "gelu_tanh", "gelu_quick", "relu2", "swigluoai", "swiglu_limit"};

bool is_row_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

void require_row_dtype(DType dtype, std::string_view field) {
  SWITCHYARD_REQUIRE(is_row_dtype(dtype), unsupported,
                     "{} of an expert MLP is {}: experts compute on f32, bf16 and f16", field, to_string(dtype));
}

void require_activation(ActivationSpec const& spec) {
  bool const needs_gate = spec.kind == Activation::swigluoai || spec.kind == Activation::swiglu_limit;
  SWITCHYARD_REQUIRE(!needs_gate || spec.layout != GateLayout::plain, invalid_argument,
                     "activation {} has no plain form: its up input would be missing; choose layout split or "
                     "interleaved",
                     to_string(spec.kind));
  SWITCHYARD_REQUIRE(!needs_gate || spec.limit > 0.0f, invalid_argument,
                     "limit {} of activation {} is not positive: gpt-oss uses 7", spec.limit, to_string(spec.kind));
}

void require_quant(std::optional<QuantSpec> const& spec, std::string_view field) {
  if (!spec) return;
  spec->validate();
  SWITCHYARD_REQUIRE(spec->scheme != QuantScheme::fp8_tensor_dynamic, unsupported,
                     "{} by {}: its scale needs all rows of all ranks; measure it and use {}", field,
                     to_string(spec->scheme), to_string(QuantScheme::fp8_tensor));
}

int first_block(TpSlice const& tp) noexcept {
  return tp.rank * kIntermediateBlocks / tp.size;
}

}  // namespace

std::string_view to_string(Activation activation) noexcept {
  return kActivationNames[static_cast<std::size_t>(activation)];
}

std::string_view to_string(GateLayout layout) noexcept {
  if (layout == GateLayout::plain) return "plain";
  return layout == GateLayout::split ? "split" : "interleaved";
}

std::optional<Activation> parse_activation(std::string_view name) noexcept {
  for (Activation const activation : kAllActivations)
    if (to_string(activation) == name) return activation;
  return std::nullopt;
}

void ExpertMlp::validate() const {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  SWITCHYARD_REQUIRE(hidden >= 1 && hidden <= kLargest && intermediate >= 1 && intermediate <= kLargest / 2,
                     invalid_argument, "expert MLP of hidden size {} and intermediate size {}: both must be 1 or more",
                     hidden, intermediate);
  SWITCHYARD_REQUIRE(num_local_experts >= 0, invalid_argument, "an expert MLP cannot have {} local experts",
                     num_local_experts);
  SWITCHYARD_REQUIRE(tp.size == 1 || tp.size == 2 || tp.size == 4 || tp.size == 8, unsupported,
                     "TP size {}: a rank must own a subtree of the sum over 8 blocks, so 1, 2, 4 or 8", tp.size);
  SWITCHYARD_REQUIRE(tp.rank >= 0 && tp.rank < tp.size, invalid_argument, "TP rank {} is not in [0, {})", tp.rank,
                     tp.size);
  require_row_dtype(dtype, "row dtype");
  require_row_dtype(rounding.hidden, "rounding.hidden");
  require_row_dtype(rounding.gate, "rounding.gate");
  require_row_dtype(rounding.activation, "rounding.activation");
  require_activation(activation);
  require_quant(input_quant, "input_quant");
  require_quant(activation_quant, "activation_quant");
}

std::int64_t ExpertMlp::first_unit() const noexcept {
  return intermediate_block_begin(intermediate, first_block(tp));
}

std::int64_t ExpertMlp::local_units() const noexcept {
  return intermediate_block_begin(intermediate, first_block(TpSlice{tp.rank + 1, tp.size})) - first_unit();
}

std::int64_t ExpertMlp::first_layer_outputs() const noexcept {
  return local_units() * activation.inputs_per_unit();
}

std::int64_t ExpertMlp::gate_row(std::int64_t unit) const noexcept {
  return activation.layout == GateLayout::interleaved ? 2 * unit : unit;
}

std::int64_t ExpertMlp::up_row(std::int64_t unit) const noexcept {
  if (activation.layout == GateLayout::plain) return unit;
  return activation.layout == GateLayout::interleaved ? 2 * unit + 1 : local_units() + unit;
}

std::vector<std::int64_t> ExpertMlp::block_ends() const {
  std::vector<std::int64_t> ends;
  for (int block = first_block(tp); block < first_block(TpSlice{tp.rank + 1, tp.size}); ++block)
    ends.push_back(intermediate_block_begin(intermediate, block + 1) - first_unit());
  return ends;
}

}  // namespace switchyard
