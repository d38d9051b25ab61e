// SPDX-License-Identifier: Apache-2.0
// The backward of ParallelMlp: through the combine, the experts and the dispatch.
#include <algorithm>
#include <cstring>

#include "check_call.hpp"
#include "parallel_mlp_rows.hpp"
#include "switchyard/cpu/parallel_mlp.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// The source's rows, one per choice: their weight's place in [T * top_k], -1 for an empty bin.
std::vector<std::int64_t> flat_slots(DispatchPlan const& plan) {
  auto const& gather = std::get<RowGather>(plan.stages.front());
  std::vector<std::int64_t> slots;
  for (std::size_t row = 0; row < gather.token_of_row.size(); ++row)
    slots.push_back(
        gather.token_of_row[row] < 0 ? -1 : gather.token_of_row[row] * plan.slot_columns + gather.slot_of_row[row]);
  return slots;
}

/// Every row's token gradient; zeros for an empty bin.
std::vector<std::byte> gathered(ConstTensorView const& d_output, DispatchPlan const& plan, std::int64_t row_bytes) {
  auto const& tokens = std::get<RowGather>(plan.stages.front()).token_of_row;
  std::vector<std::byte> rows(to_size(checked_mul(static_cast<std::int64_t>(tokens.size()), row_bytes)));
  for (std::size_t row = 0; row < tokens.size(); ++row)
    if (tokens[row] >= 0)
      std::memcpy(rows.data() + row * to_size(row_bytes),
                  static_cast<std::byte const*>(d_output.data()) + tokens[row] * row_bytes, to_size(row_bytes));
  return rows;
}

/// sums[c] = column c over tokens ascending, each addition rounded to fp32.
void column_sums(ConstTensorView const& rows, std::span<float> sums) {
  ExpertKernels const& kernels = active_expert_kernels();
  hd::FloatEnvGuard const float_env;
  auto const columns = static_cast<std::int64_t>(sums.size());
  std::vector<float> row(sums.size());
  std::fill(sums.begin(), sums.end(), 0.0f);
  for (std::int64_t token = 0; token < rows.extent(0); ++token) {
    auto const* const at = static_cast<std::byte const*>(rows.data()) + token * columns * size_of(rows.dtype());
    kernels.load(at, rows.dtype(), nullptr, row.data(), columns);
    kernels.add_and_round(sums.data(), row.data(), DType::f32, columns);
  }
}

void require_f32(TensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns) {
  require_matrix(view, name, rows, columns);
  SWITCHYARD_REQUIRE(view.dtype() == DType::f32, shape_mismatch, "{} is {}: such gradients are f32", name,
                     to_string(view.dtype()));
}

void check_gradients(ParallelMlpConfig const& config, ParallelMlpStep const& step,
                     ParallelMlpGradients const& gradients) {
  std::int64_t const tokens = step.routing.num_tokens();
  require_matrix(gradients.d_output, "d_output", tokens, config.hidden);
  require_matrix(gradients.d_tokens, "d_tokens", tokens, config.hidden);
  SWITCHYARD_REQUIRE(
      tokens == 0 || (gradients.d_output.dtype() == config.dtype && gradients.d_tokens.dtype() == config.dtype),
      shape_mismatch, "d_output is {} and d_tokens {}, the layer computes on {}", to_string(gradients.d_output.dtype()),
      to_string(gradients.d_tokens.dtype()), to_string(config.dtype));
  SWITCHYARD_REQUIRE(gradients.d_router_weights.size() == step.routing.weights().size(), shape_mismatch,
                     "room for {} gradients of {} router weights", gradients.d_router_weights.size(),
                     step.routing.weights().size());
  if (gradients.d_bias.data() == nullptr) return;
  require_f32(gradients.d_bias, "d_bias", 1, config.hidden);
  SWITCHYARD_REQUIRE(!config.return_bias, invalid_argument,
                     "a gradient of a bias that the layer returned: it belongs to whoever added it");
}

}  // namespace

/// The gradients of results and router weights where results were kept as codes at their source.
void ParallelMlp::through_codes(ParallelMlpStep const& step, ParallelMlpGradients const& gradients,
                                TensorView const& d_rows) {
  std::vector<std::int64_t> const slots = flat_slots(step.plan);
  auto const rows = static_cast<std::int64_t>(slots.size());
  std::vector<float> values(to_size(checked_mul(rows, config_.hidden)));
  dequantize(step.home_codes.view(), values);
  std::int64_t const row_bytes = config_.hidden * size_of(config_.dtype);
  std::vector<std::byte> const home = rounded(values, config_.hidden, config_.dtype);
  std::vector<float> weights(slots.size(), 0.0f);
  for (std::size_t row = 0; row < slots.size(); ++row)
    if (slots[row] >= 0) weights[row] = step.routing.weights()[to_size(slots[row])];

  std::vector<std::byte> current = gathered(gradients.d_output, step.plan, row_bytes);
  TensorView view(current.data(), config_.dtype, {rows, config_.hidden});
  std::vector<float> d_weights(slots.size());
  router_weight_backward(ConstTensorView(home.data(), config_.dtype, view.shape()), weights, view, view, d_weights);
  std::fill(gradients.d_router_weights.begin(), gradients.d_router_weights.end(), 0.0f);
  for (std::size_t row = 0; row < slots.size(); ++row)
    if (slots[row] >= 0) gradients.d_router_weights[to_size(slots[row])] = d_weights[row];

  for (std::size_t position = 1; position < step.plan.stages.size(); ++position) {
    std::int64_t const next_rows = output_rows(step.plan.stages[position]);
    std::vector<std::byte> next(to_size(checked_mul(next_rows, row_bytes)));
    TensorView const to(next.data(), config_.dtype, {next_rows, config_.hidden});
    stages_.forward(step.plan, {StageList::stages, position}, view, to);
    current = std::move(next);
    view = to;
  }
  if (!current.empty()) std::memcpy(d_rows.data(), current.data(), current.size());
}

void ParallelMlp::expert_backward(ParallelMlpStep const& step, ExpertWeights const& weights,
                                  ParallelMlpGradients const& gradients, ConstTensorView const& d_results,
                                  TensorView const& d_rows) {
  ExpertGradientCall call;
  call.forward.rows = {step.rows.data(), config_.dtype, d_results.shape()};
  call.forward.blocks = step.blocks;
  call.forward.weights = weights;
  call.d_output = d_results;
  call.d_rows = d_rows;
  call.d_w1 = gradients.d_w1;
  call.d_w2 = gradients.d_w2;
  experts_.backward(call, workspace_.reserve(experts_.backward_workspace_bytes(largest_block(step.blocks))));
}

void ParallelMlp::backward(ParallelMlpStep const& step, ExpertWeights const& weights,
                           ParallelMlpGradients const& gradients) {
  check_gradients(config_, step, gradients);
  check_weights(experts_.mlp(), weights);
  std::int64_t const tokens = step.routing.num_tokens();
  std::int64_t const num_rows = step.plan.num_expert_rows();
  TensorShape const shape{num_rows, config_.hidden};
  std::vector<std::byte> d_results(to_size(shape.num_elements() * size_of(config_.dtype)));
  TensorView const d_result_view(d_results.data(), config_.dtype, shape);
  ConstTensorView const d_output(gradients.d_output.data(), config_.dtype, {tokens, config_.hidden});
  CombineInputs terms;
  terms.weights = step.routing.weights();
  if (config_.quantize_scatter_num_bits != -1)
    through_codes(step, gradients, d_result_view);
  else
    executor_.combine_backward(step.plan, d_output, {step.expert_rows.data(), result_dtype(), shape}, terms,
                               d_result_view, gradients.d_router_weights);

  bool const in_place = mlp().tp.size == 1;
  std::vector<std::byte> partials(in_place ? 0 : to_size(shape.num_elements() * size_of(DType::f32)));
  TensorView const d_rows = in_place ? d_result_view : TensorView(partials.data(), DType::f32, shape);
  expert_backward(step, weights, gradients, d_result_view, d_rows);
  executor_.dispatch_backward(step.plan, config_.recipe, d_rows, step.routing.ids(),
                              {gradients.d_tokens.data(), config_.dtype, {tokens, config_.hidden}});
  if (gradients.d_bias.data() != nullptr) column_sums(d_output, gradients.d_bias.elements<float>());
}

}  // namespace switchyard::cpu
