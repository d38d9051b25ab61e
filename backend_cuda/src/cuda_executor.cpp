// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/cuda_executor.hpp"

#include <cstring>

#include "cuda_error.hpp"
#include "executor_state.hpp"
#include "join_bias.hpp"
#include "nvtx_range.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

void require_weights(DispatchPlan const& plan, ConstTensorView const& weights) {
  auto const expected = checked_mul(plan.num_tokens, plan.slot_columns);
  bool const is_float = weights.dtype() == DType::f32 || weights.dtype() == DType::f64;
  SWITCHYARD_REQUIRE(
      is_float && weights.space() == MemorySpace::device && weights.shape().contiguous() &&
          weights.shape().num_elements() == expected,
      shape_mismatch,
      "rank {} combines with {} {} weights: {} tokens x {} slots need {} contiguous f32 or f64 values on "
      "the device",
      plan.rank.value(), weights.shape().num_elements(), to_string(weights.dtype()), plan.num_tokens, plan.slot_columns,
      expected);
}

void require_shared_rows(DispatchPlan const& plan, CombineInputs const& inputs, std::int64_t hidden, DType dtype) {
  if (!inputs.shared_expert.has_value()) return;
  auto const& shared = *inputs.shared_expert;
  require_same_hidden(hidden, require_matrix("shared expert rows", shared, plan.num_tokens, plan.rank), plan.rank);
  SWITCHYARD_REQUIRE(shared.dtype() == dtype, shape_mismatch, "rank {} adds {} shared expert rows to {} tokens",
                     plan.rank.value(), to_string(shared.dtype()), to_string(dtype));
}

void require_expert_dtype(DispatchPlan const& plan, DType rows, DType result) {
  require_row_dtype(result, plan.rank);
  SWITCHYARD_REQUIRE(rows == result || rows == DType::f32, shape_mismatch,
                     "rank {} combines {} expert rows into {} tokens: pass rows of the same dtype, or f32",
                     plan.rank.value(), to_string(rows), to_string(result));
}

CudaExecutor::CudaExecutor(DeviceCommunicator& comm) : state_(std::make_unique<State>(comm)) {}
CudaExecutor::~CudaExecutor() = default;
CudaExecutor::CudaExecutor(CudaExecutor&&) noexcept = default;
CudaExecutor& CudaExecutor::operator=(CudaExecutor&&) noexcept = default;

void CudaExecutor::dispatch(DevicePlan const& device_plan, ConstTensorView tokens, TensorView rows, StreamView stream,
                            std::optional<Duration> deadline) {
  NvtxRange const range("dispatch");
  DispatchPlan const& plan = device_plan.plan();
  state_->require_plan(plan);
  std::int64_t const hidden = require_matrix("tokens", tokens, plan.num_tokens, plan.rank);
  require_same_hidden(hidden, require_matrix("expert rows", rows, plan.num_expert_rows(), plan.rank), plan.rank);
  SWITCHYARD_REQUIRE(tokens.dtype() == rows.dtype(), shape_mismatch, "rank {} dispatches {} tokens into {} rows",
                     plan.rank.value(), to_string(tokens.dtype()), to_string(rows.dtype()));
  StepContext const context{device_plan.lists(), stream, hidden,
                            internal::payload_digest(plan, tokens.dtype(), rows.dtype(), hidden), deadline};
  Rows const out = rows_of(rows);
  state_->carry(context, context.lists.dispatch, rows_of(tokens), &out);
}

void CudaExecutor::combine(DevicePlan const& device_plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
                           CombineInputs const& inputs, TensorView out, StreamView stream,
                           std::optional<Duration> deadline) {
  NvtxRange const range("combine");
  DispatchPlan const& plan = device_plan.plan();
  require_supported(plan, recipe, inputs.route);
  state_->require_plan(plan);
  std::int64_t const hidden = require_matrix("expert rows", expert_rows, plan.num_expert_rows(), plan.rank);
  require_same_hidden(hidden, require_matrix("combined tokens", out, plan.num_tokens, plan.rank), plan.rank);
  require_expert_dtype(plan, expert_rows.dtype(), out.dtype());
  require_weights(plan, inputs.weights);
  require_shared_rows(plan, inputs, hidden, out.dtype());
  require_join_bias(plan, recipe, inputs, hidden);
  bool const by_partials = sends_partials(plan, recipe, inputs.route);
  auto const payload = internal::payload_digest(plan, expert_rows.dtype(), out.dtype(), hidden);
  auto const digest = internal::recipe_digest(payload, recipe, inputs.weights.dtype() == DType::f64, by_partials);
  StepContext const context{device_plan.lists(), stream, hidden,
                            inputs.join_bias ? ~digest : digest,  // a bias on some ranks only is a mismatch
                            deadline};
  if (by_partials) {
    state_->sum_over_ranks(context, recipe, rows_of(expert_rows), expert_rows.dtype(), out.dtype(), inputs, out.data());
  } else {
    ConstRows const home =
        state_->bring_home(context, rows_of(expert_rows), expert_rows.dtype(), out.dtype(), inputs.join_bias);
    state_->sum_at_source(context, recipe, home, out.dtype(), inputs, out.data());
  }
  if (inputs.shared_expert.has_value() && recipe.shared_expert == SharedExpert::after_rounding)
    launch_add_shared(out.data(), inputs.shared_expert->data(), out.shape().num_elements(), out.dtype(), stream);
}

void CudaExecutor::dispatch_backward(DevicePlan const& plan, CombineRecipe const& recipe, ConstTensorView row_gradients,
                                     TensorView token_gradients, StreamView stream, std::optional<Duration> deadline) {
  NvtxRange const range("dispatch backward");
  CombineInputs inputs;
  inputs.weights = ConstTensorView(plan.lists().ones().data(), DType::f32,
                                   {plan.plan().num_tokens, plan.plan().slot_columns}, MemorySpace::device);
  combine(plan, recipe, row_gradients, inputs, token_gradients, stream, deadline);
}

namespace {

/// @return hidden
std::int64_t require_gradients(DispatchPlan const& plan, ConstTensorView const& out_gradients,
                               ConstTensorView const& expert_rows, CombineInputs const& inputs,
                               TensorView const& row_gradients, TensorView const& weight_gradients) {
  DType const dtype = out_gradients.dtype();
  std::int64_t const hidden = require_matrix("output gradients", out_gradients, plan.num_tokens, plan.rank);
  std::int64_t const rows = plan.num_expert_rows();
  require_same_hidden(hidden, require_matrix("expert rows", expert_rows, rows, plan.rank), plan.rank);
  require_same_hidden(hidden, require_matrix("row gradients", row_gradients, rows, plan.rank), plan.rank);
  require_expert_dtype(plan, expert_rows.dtype(), dtype);
  SWITCHYARD_REQUIRE(row_gradients.dtype() == dtype, shape_mismatch, "rank {} turns {} output gradients into {} rows",
                     plan.rank.value(), to_string(dtype), to_string(row_gradients.dtype()));
  require_weights(plan, inputs.weights);
  require_join_bias(plan, CombineRecipe::source_slot_order(), inputs, hidden);
  require_weights(plan, weight_gradients);
  SWITCHYARD_REQUIRE(weight_gradients.dtype() == DType::f32, shape_mismatch, "rank {} writes {} weight gradients",
                     plan.rank.value(), to_string(weight_gradients.dtype()));
  return hidden;
}

}  // namespace

void CudaExecutor::combine_backward(DevicePlan const& device_plan, ConstTensorView out_gradients,
                                    ConstTensorView expert_rows, CombineInputs const& inputs, TensorView row_gradients,
                                    TensorView weight_gradients, StreamView stream, std::optional<Duration> deadline) {
  NvtxRange const range("combine backward");
  DispatchPlan const& plan = device_plan.plan();
  state_->require_plan(plan);
  DType const dtype = out_gradients.dtype();
  std::int64_t const hidden =
      require_gradients(plan, out_gradients, expert_rows, inputs, row_gradients, weight_gradients);
  StepContext const context{device_plan.lists(), stream, hidden,
                            internal::payload_digest(plan, expert_rows.dtype(), dtype, hidden), deadline};
  ConstRows const home =
      state_->bring_home(context, rows_of(expert_rows), expert_rows.dtype(), dtype, inputs.join_bias);
  DeviceTerms const& terms = context.lists.source_terms(SumOrder::source_slot);
  SourceRowsParams const source{terms.rows.as<std::int64_t const>(),
                                terms.inputs.as<std::int64_t const>(),
                                terms.weight_index.as<std::int64_t const>(),
                                terms.num_terms,
                                hidden,
                                dtype};
  if (weight_gradients.shape().num_elements() > 0)
    SWITCHYARD_CUDA_TRY(cudaMemsetAsync(
        weight_gradients.data(), 0, to_size(weight_gradients.shape().num_elements()) * sizeof(float), stream.handle()));
  launch_dot_rows(source, out_gradients.data(), home.data, static_cast<float*>(weight_gradients.data()), stream);

  auto const* const weights = static_cast<float const*>(
      state_->weights_of(context, terms, inputs.weights.data(), inputs.weights.dtype() == DType::f64, false, true));
  DevicePath const& path = context.lists.gradient_path();
  std::int64_t const first_rows = output_rows(return_path(plan).front());
  Rows const out = rows_of(row_gradients);
  Rows const first = path.steps.empty() ? out : state_->next_rows(first_rows, out.row_bytes);
  if (terms.num_terms < first_rows && first.row_bytes > 0)
    SWITCHYARD_CUDA_TRY(cudaMemsetAsync(first.data, 0, to_size(first_rows * first.row_bytes), stream.handle()));
  launch_weigh_rows(source, out_gradients.data(), weights, first.data, stream);
  if (!path.steps.empty()) state_->carry(context, path, first, &out);
}

void CudaExecutor::check(StreamView stream) {
  constexpr unsigned long long kNone = ~0ULL;
  unsigned long long found = kNone;
  copy_to_host(state_->first_nan, state_->first_nan_host.bytes(), stream);
  stream.synchronize();
  std::memcpy(&found, state_->first_nan_host.data(), sizeof found);
  if (found == kNone) return;
  fill_bytes(state_->first_nan, 0xff, stream);
  auto const entry = static_cast<std::int64_t>(found);
  SWITCHYARD_REQUIRE(false, invalid_argument,
                     "weight of token {}, slot {} on rank {} is NaN: mask the token with -1 or fix the router",
                     entry / state_->last_columns, entry % state_->last_columns, state_->comm.rank().value());
}

}  // namespace switchyard::cuda
