// SPDX-License-Identifier: Apache-2.0
// The gradients of a combine over slots of fixed size: results come home as single rows, weighted gradients go out.
#include "budget_steps.hpp"
#include "cuda_error.hpp"
#include "executor_state.hpp"
#include "join_bias.hpp"
#include "nvtx_range.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

/// Operands, all of them checked.
struct Gradients {
  ConstTensorView out;  ///< of the combined tokens
  ConstRows rows;       ///< results, of out's dtype, or with TP parts in f32
  CombineInputs const& inputs;
  TensorView row_gradients;
  TensorView weight_gradients;
};

void require_gradients(BudgetPlan const& plan, ConstTensorView const& results, Gradients const& on) {
  BudgetPlan::Lists const& lists = plan.lists();
  DispatchPlan const& known = lists.skeleton;
  int const rank = known.rank.value();
  SWITCHYARD_REQUIRE(lists.single.slot_rows > 0, unsupported,
                     "gradients of a combine on rank {} need single rows, for which the plan has no slots: give "
                     "BudgetOptions::single_rows, or use a DevicePlan",
                     rank);
  std::int64_t const hidden = require_matrix("output gradients", on.out, known.num_tokens, known.rank);
  require_same_hidden(hidden, require_matrix("expert rows", results, plan.expert_rows(), known.rank), known.rank);
  require_same_hidden(hidden, require_matrix("row gradients", on.row_gradients, plan.expert_rows(), known.rank),
                      known.rank);
  require_expert_dtype(known, results.dtype(), on.out.dtype());
  SWITCHYARD_REQUIRE(on.row_gradients.dtype() == on.out.dtype(), shape_mismatch,
                     "rank {} turns {} output gradients into {} rows", rank, to_string(on.out.dtype()),
                     to_string(on.row_gradients.dtype()));
  require_weights(known, on.inputs.weights);
  require_join_bias(known, {}, on.inputs, hidden);
  require_weights(known, on.weight_gradients);
  SWITCHYARD_REQUIRE(on.weight_gradients.dtype() == DType::f32, shape_mismatch, "rank {} writes {} weight gradients",
                     rank, to_string(on.weight_gradients.dtype()));
  DType const widest = lists.has_parts() ? DType::f32 : on.out.dtype();
  require_slot_row(lists, hidden * size_of(widest), "gradients");
}

/// The weights as floats. @return [tokens, columns]
float const* float_weights(BudgetStep const& step, ConstTensorView const& weights, std::int64_t count) {
  if (weights.dtype() == DType::f32) return static_cast<float const*>(weights.data());
  GatherWeightsParams round{};
  round.weights = weights.data();
  round.weights_f64 = true;
  round.output = step.lists.term_weights.data();
  round.count = count;
  launch_gather_weights(round, step.stream);
  return step.lists.term_weights.as<float const>();
}

/// Weighted gradients, which stand in the slots, to the experts' rows.
void send_gradients(BudgetStep const& step, Gradients const& on) {
  BudgetExchange const exchange = step.lists.exchange(step.lists.single, false, step.digest_of(BudgetPhase::gradients));
  launch_budget_say(exchange, step.stream);
  send_singles(step, exchange, step.call("gradient slots", BudgetPhase::gradients), on.row_gradients);
}

}  // namespace

void CudaExecutor::combine_backward(BudgetPlan const& plan, ConstTensorView out_gradients, ConstTensorView expert_rows,
                                    CombineInputs const& inputs, TensorView row_gradients, TensorView weight_gradients,
                                    StreamView stream, std::optional<Duration> deadline) {
  NvtxRange const range("combine backward");
  BudgetPlan::Lists& lists = plan.lists();
  DispatchPlan const& known = lists.skeleton;
  state_->require_plan(known);
  Gradients on{out_gradients, {}, inputs, row_gradients, weight_gradients};
  require_gradients(plan, expert_rows, on);
  DType const dtype = out_gradients.dtype();
  std::int64_t const hidden = out_gradients.extent(1);
  std::int64_t const choices = known.num_tokens * lists.columns;
  BudgetStep const step{
      lists,   state_->comm, stream, hidden, internal::payload_digest(known, expert_rows.dtype(), dtype, hidden),
      deadline};
  DType const travels = lists.has_parts() ? DType::f32 : dtype;
  on.rows = state_->as_dtype(rows_of(expert_rows), expert_rows.dtype(), travels, stream);
  state_->watch_slot_weights(plan, inputs.weights, stream);
  BudgetChoicesParams entries{};
  entries.exchange = bring_home(step, {on.rows, dtype, inputs.join_bias}, BudgetPhase::results, "gradient results");
  entries.rows = lists.single.rows;
  entries.planned = &lists.planner.lists().numbers->tokens;
  entries.tokens = known.num_tokens;
  entries.columns = lists.columns;
  entries.arrived = lists.arrived_choice.as<std::int64_t>();
  entries.sent = lists.sent_choice.as<std::int64_t>();
  launch_budget_choices(entries, stream);
  if (choices > 0)
    SWITCHYARD_CUDA_TRY(cudaMemsetAsync(weight_gradients.data(), 0, to_size(choices) * sizeof(float), stream.handle()));
  SourceRowsParams source{entries.arrived,
                          lists.token_of_choice.as<std::int64_t const>(),
                          lists.choices.as<std::int64_t const>(),
                          choices,
                          hidden,
                          dtype};
  launch_dot_rows(source, out_gradients.data(), lists.slots.data(), static_cast<float*>(weight_gradients.data()),
                  stream);
  source.rows = entries.sent;
  launch_weigh_rows(source, out_gradients.data(), float_weights(step, inputs.weights, choices), lists.slots.data(),
                    stream);
  send_gradients(step, on);
}

}  // namespace switchyard::cuda
