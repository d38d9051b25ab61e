// SPDX-License-Identifier: Apache-2.0
// Backward: the gradient of a dispatch is a combine with weight 1; the gradient of a combine is a dispatch of weighted
// rows along the path on which single rows returned, and one dot product per (token, slot). No index is made anew.
#include <algorithm>
#include <span>
#include <vector>

#include "by_dtype.hpp"
#include "executor_state.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// One (token, slot) row of the source for each entry of gather.rows_of_token.
struct SourceRows {
  StageContext const& context;
  RowGather const& gather;
  std::vector<float> const& weights;  ///< parallel to rows_of_token
};

template <typename T>
T const* row_at(ConstRows rows, std::int64_t row, std::int64_t hidden) {
  return reinterpret_cast<T const*>(rows.data) + row * hidden;
}

/// body(entry of rows_of_token, row, token) for all rows.
template <typename Body>
void for_source_rows(SourceRows const& source, std::int64_t row_bytes, Body const& body) {
  auto const& gather = source.gather;
  for_items(static_cast<std::int64_t>(gather.rows_of_token.size()), row_bytes,
            [&](std::int64_t begin, std::int64_t end) {
              for (std::int64_t entry = begin; entry < end; ++entry) {
                std::int64_t const row = gather.rows_of_token[to_size(entry)];
                body(entry, row, gather.token_of_row[to_size(row)]);
              }
            });
}

/// out[row] = weight * gradient of the row's token; zeros in a row without one.
template <typename T>
void weigh_gradients(SourceRows const& source, ConstRows gradients, Rows out) {
  std::int64_t const hidden = source.context.hidden;
  bool const has_empty_rows = source.gather.rows_of_token.size() < to_size(out.count);
  if (has_empty_rows) std::fill_n(out.data, to_size(out.count * out.row_bytes), std::byte{0});
  for_source_rows(source, out.row_bytes, [&](std::int64_t entry, std::int64_t row, std::int64_t token) {
    T const* const gradient = row_at<T>(gradients, token, hidden);
    T* const target = reinterpret_cast<T*>(out.data) + row * hidden;
    float const weight = source.weights[to_size(entry)];
    for (std::int64_t c = 0; c < hidden; ++c) target[c] = hd::RowProduct::product(weight, gradient[c]);
  });
}

/// weight_gradients[token, slot] = <row, gradient of the row's token>.
template <typename T>
void dot_rows(SourceRows const& source, ConstRows gradients, ConstRows rows, std::span<float> weight_gradients) {
  std::int64_t const hidden = source.context.hidden;
  std::int64_t const columns = source.context.plan.slot_columns;
  for_source_rows(source, rows.row_bytes, [&](std::int64_t, std::int64_t row, std::int64_t token) {
    T const* const gradient = row_at<T>(gradients, token, hidden);
    T const* const result = row_at<T>(rows, row, hidden);
    std::int64_t const slot = source.gather.slot_of_row[to_size(row)];
    weight_gradients[to_size(token * columns + slot)] = hd::lane32_sum(
        hidden, [&](std::int64_t c) { return hd::mul_rn(hd::widen(result[c]), hd::widen(gradient[c])); });
  });
}

/// Checks the operands of combine_backward and returns H.
std::int64_t require_operands(DispatchPlan const& plan, ConstTensorView const& out_gradients,
                              ConstTensorView const& expert_rows, TensorView const& row_gradients,
                              std::span<float const> weight_gradients) {
  std::int64_t const hidden = require_matrix("output gradients", out_gradients, plan.num_tokens, plan.rank);
  std::int64_t const rows = plan.num_expert_rows();
  require_same_hidden(hidden, require_matrix("expert rows", expert_rows, rows, plan.rank), plan.rank);
  require_same_hidden(hidden, require_matrix("row gradients", row_gradients, rows, plan.rank), plan.rank);
  DType const dtype = out_gradients.dtype();
  SWITCHYARD_REQUIRE(
      row_gradients.dtype() == dtype && (expert_rows.dtype() == dtype || expert_rows.dtype() == DType::f32),
      shape_mismatch,
      "rank {} takes {} output gradients, {} expert rows and {} row gradients: pass one dtype, expert "
      "rows may be f32",
      plan.rank.value(), to_string(dtype), to_string(expert_rows.dtype()), to_string(row_gradients.dtype()));
  auto const expected = checked_mul(plan.num_tokens, plan.slot_columns);
  SWITCHYARD_REQUIRE(static_cast<std::int64_t>(weight_gradients.size()) == expected, shape_mismatch,
                     "rank {} has room for {} weight gradients: {} tokens x {} slots need {}", plan.rank.value(),
                     weight_gradients.size(), plan.num_tokens, plan.slot_columns, expected);
  return hidden;
}

}  // namespace

void CpuExecutor::dispatch_backward(DispatchPlan const& plan, CombineRecipe const& recipe,
                                    ConstTensorView row_gradients, std::span<std::int32_t const> experts,
                                    TensorView token_gradients, std::optional<Duration> deadline) {
  CombineInputs inputs;
  inputs.weights_applied = true;
  inputs.experts = experts;
  combine(plan, recipe, row_gradients, inputs, token_gradients, deadline);
}

void CpuExecutor::combine_backward(DispatchPlan const& plan, ConstTensorView out_gradients, ConstTensorView expert_rows,
                                   CombineInputs const& inputs, TensorView row_gradients,
                                   std::span<float> weight_gradients, std::optional<Duration> deadline) {
  if (inputs.weights_applied) {
    std::vector<float> const ones = unit_weights(plan);
    return combine_backward(plan, out_gradients, expert_rows, with_weights(inputs, ones), row_gradients,
                            weight_gradients, deadline);
  }
  state_->require_plan(plan);
  std::int64_t const hidden = require_operands(plan, out_gradients, expert_rows, row_gradients, weight_gradients);
  internal::require_join_bias(plan, CombineRecipe::source_slot_order(), inputs.join_bias, hidden, MemorySpace::host);
  DType const dtype = out_gradients.dtype();
  auto const& kernels = active_row_kernels();
  static_cast<void>(kernels_of(kernels, dtype));
  auto const& gather = std::get<RowGather>(return_path(plan).front());
  auto const weights = float_weights(plan, gather, inputs);
  StageContext const context{
      state_->comm, plan, kernels, hidden, internal::payload_digest(plan, expert_rows.dtype(), dtype, hidden),
      deadline};
  SourceRows const source{context, gather, weights};
  ConstRows const gradients = rows_of(out_gradients);

  ConstRows const home = state_->bring_home(context, expert_rows, dtype, JoinBias(context, inputs));
  std::fill(weight_gradients.begin(), weight_gradients.end(), 0.0f);
  by_dtype(dtype, [&](auto zero) { dot_rows<decltype(zero)>(source, gradients, home, weight_gradients); });
  state_->send_rows(
      context,
      [&](Rows out) { by_dtype(dtype, [&](auto zero) { weigh_gradients<decltype(zero)>(source, gradients, out); }); },
      rows_of(row_gradients));
}

}  // namespace switchyard::cpu
