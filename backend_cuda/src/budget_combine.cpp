// SPDX-License-Identifier: Apache-2.0
// Combine over slots of fixed size: single rows that are summed at their source, or one partial per (rank, token).
#include <numeric>

#include "budget_steps.hpp"
#include "executor_state.hpp"
#include "join_bias.hpp"
#include "nvtx_range.hpp"
#include "recipe_sums.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {
namespace {

/// Operands of one combine, all of them checked.
struct Operands {
  CombineRecipe const& recipe;
  CombineInputs const& inputs;
  ConstRows rows;  ///< of out's dtype, or single rows with TP: parts in f32
  TensorView out;
  bool sends_weights;  ///< of partials; else those of the dispatch are used
  DeviceScratch& rank_sums;
  BudgetShares shares{};  ///< of rows whose parts were joined

  [[nodiscard]] bool weights_f64() const { return sends_weights && inputs.weights.dtype() == DType::f64; }
};

BudgetJoinParams join_of(BudgetStep const& step, BudgetRoute const& route, BudgetExchange const& exchange) {
  BudgetJoinParams join{};
  join.exchange = exchange;
  join.rows = route.rows;
  join.planned = &step.lists.planner.lists().numbers->tokens;
  join.tokens = step.lists.skeleton.num_tokens;
  join.lane_tp = 1;
  join.begin = step.lists.join_begin.as<std::int64_t>();
  join.terms = step.lists.join_terms.as<std::int64_t>();
  join.columns = step.lists.columns;
  return join;
}

/// Sums of rows that stand in the slots.
SumRowsParams sum_of_slots(BudgetStep const& step, DType row_dtype, void const* weights, TensorView out) {
  return {step.lists.slots.data(),
          row_dtype,
          out.data(),
          out.dtype(),
          step.lists.join_begin.as<std::int64_t const>(),
          step.lists.join_terms.as<std::int64_t const>(),
          weights,
          step.lists.skeleton.num_tokens,
          step.hidden};
}

/// rank_partial of the rows in the slots: ranks' sums as they would have travelled, then one sum per token.
void sum_ranks(BudgetStep const& step, Operands const& on, void const* weights) {
  BudgetPlan::Lists const& lists = step.lists;
  Wire const wire = wire_of(on.recipe, on.out.dtype(), false);
  std::int64_t const tokens = lists.skeleton.num_tokens;
  std::int64_t const sums = tokens * lists.ranks_of_token;
  launch_budget_rank_sums(
      {lists.join_begin.as<std::int64_t const>(), lists.join_terms.as<std::int64_t const>(), lists.single.slot_rows,
       tokens, lists.ranks_of_token, lists.rank_begin.as<std::int64_t>(), lists.rank_terms.as<std::int64_t>()},
      step.stream);
  SumRowsParams add = sum_of_slots(step, on.out.dtype(), weights, on.out);
  add.output = on.rank_sums.reserve(checked_mul(checked_mul(sums, step.hidden), size_of(wire.dtype)));
  add.out_dtype = wire.dtype;
  add.term_begin = lists.rank_begin.as<std::int64_t const>();
  add.num_sums = sums;
  launch_sum_rows(wire.add, add, step.stream);
  SumRowsParams join = sum_of_slots(step, wire.dtype, nullptr, on.out);
  join.rows = add.output;
  join.term_begin = lists.first_rank_sum.as<std::int64_t const>();
  join.term_rows = lists.rank_terms.as<std::int64_t const>();
  launch_sum_rows(wire.join, join, step.stream);
}

void combine_singles(BudgetStep const& step, Operands const& on) {
  NvtxRange const range("sum rows");
  BudgetPlan::Lists& lists = step.lists;
  require_slot_row(lists, on.rows.row_bytes, "expert rows");
  BudgetResults const results{on.rows, on.out.dtype(), on.inputs.join_bias};
  BudgetExchange const exchange = bring_home(step, results, BudgetPhase::combine, "combine slots");
  lists.note_singles(step.hidden * size_of(on.out.dtype()), on.rows.row_bytes);

  BudgetJoinParams join = join_of(step, lists.single, exchange);
  join.weights = on.inputs.weights.data();
  join.weights_f64 = on.weights_f64();
  join.term_weights = lists.term_weights.data();
  join.output_f64 = on.weights_f64() && is_exact(on.recipe);
  join.experts = on.recipe.order == SumOrder::source_expert ? lists.experts : nullptr;
  join.by_row = on.recipe.order == SumOrder::rank_then_expert;
  launch_budget_join(join, step.stream);
  if (join.by_row) return sum_ranks(step, on, join.term_weights);
  SumRowsParams const sum = sum_of_slots(step, on.out.dtype(), join.term_weights, on.out);
  if (is_exact(on.recipe))
    return launch_exact_rows({sum, join.output_f64, shared_term(on.recipe, on.inputs)}, step.stream);
  launch_sum_rows(source_step(on.recipe), sum, step.stream);
}

/// Brings every token's weights to its experts. @return [expert rows] in the order of the expansion
void const* send_weights(BudgetStep const& step, Operands const& on, bool as_f64) {
  BudgetPlan::Lists& lists = step.lists;
  if (!on.sends_weights) return lists.expert_weights.data();
  BudgetRoute const& route = lists.carried;
  std::int64_t const row_bytes = lists.columns * size_of(on.inputs.weights.dtype());
  BudgetExchange const exchange = lists.exchange(route, false, step.digest_of(BudgetPhase::weights));
  launch_budget_send_tokens(exchange, route.rows.token_of_row, lists.send_map.as<std::int32_t>(), step.stream);
  gather_slots(step, on.inputs.weights.data(), lists.weight_slots.data(), lists.send_map, lists.world * route.slot_rows,
               row_bytes);
  lists.move(step.comm, route, false, step.call("combine weights", BudgetPhase::weights),
             {{lists.weight_slots, row_bytes}});
  land_weights(step, exchange, on.weights_f64(), lists.term_weights, as_f64);
  return lists.term_weights.data();
}

void combine_partials(BudgetStep const& step, Operands const& on) {
  NvtxRange const range("sum partials");
  BudgetPlan::Lists& lists = step.lists;
  BudgetRoute const& route = lists.carried;
  bool const exact = is_exact(on.recipe);
  DType const dtype = on.out.dtype();
  Wire const wire = wire_of(on.recipe, dtype, on.weights_f64());
  std::int64_t const element_bytes = exact ? exact_state_bytes(dtype, on.weights_f64()) : size_of(wire.dtype);
  std::int64_t const row_bytes = checked_mul(step.hidden, element_bytes);
  require_slot_row(lists, row_bytes, "partials");
  void const* const weights = send_weights(step, on, exact ? on.weights_f64() : wire.weights_f64);

  DeviceGather const& expansion = lists.planner.lists().expansion;
  BudgetExchange const exchange = lists.exchange(route, true, step.digest_of(BudgetPhase::combine));
  launch_budget_send_partials(exchange, expansion, lists.partial_begin.as<std::int64_t>(), step.stream);
  DType const held = exact ? dtype : wire.dtype;
  SumRowsParams const add{on.rows.data,
                          dtype,
                          lists.slots.data(),
                          held,
                          lists.partial_begin.as<std::int64_t const>(),
                          expansion.rows_of_token,
                          weights,
                          lists.world * route.slot_rows,
                          step.hidden};
  if (exact)
    launch_exact_partials({add, on.weights_f64(), nullptr}, step.stream);
  else
    launch_sum_rows(wire.add, add, step.stream);
  BudgetCall call = step.call("combine slots", BudgetPhase::combine);
  call.within_lane = on.shares.part_bytes > 0;
  lists.move(step.comm, route, true, call, {{lists.slots, row_bytes}});
  lists.note_partials(row_bytes, on.shares);
  BudgetJoinParams terms = join_of(step, route, exchange);
  if (call.within_lane) terms.lane_tp = lists.grid().tp;
  launch_budget_join(terms, step.stream);
  SumRowsParams const join = sum_of_slots(step, held, nullptr, on.out);
  if (exact) return launch_exact_join({join, on.weights_f64(), shared_term(on.recipe, on.inputs)}, step.stream);
  launch_sum_rows(wire.join, join, step.stream);
}

/// What every combine over slots checks.
void require_operands(BudgetPlan const& plan, CombineRecipe const& recipe, ConstTensorView const& rows,
                      Operands const& on, bool by_partials) {
  BudgetPlan::Lists const& lists = plan.lists();
  DispatchPlan const& known = lists.skeleton;
  std::int64_t const hidden = require_matrix("expert rows", rows, plan.expert_rows(), known.rank);
  require_same_hidden(hidden, require_matrix("combined tokens", on.out, known.num_tokens, known.rank), known.rank);
  require_expert_dtype(known, rows.dtype(), on.out.dtype());
  if (on.sends_weights) require_weights(known, on.inputs.weights);
  require_shared_rows(known, on.inputs, hidden, on.out.dtype());
  require_join_bias(known, recipe, on.inputs, hidden);
  bool const has_slots = by_partials ? lists.carried.slot_rows > 0 : lists.single.slot_rows > 0;
  SWITCHYARD_REQUIRE(has_slots, unsupported,
                     "{} of rank {} needs single rows back, for which the plan has no slots: give "
                     "BudgetOptions::single_rows, let partials return, or use a DevicePlan",
                     to_string(recipe), known.rank.value());
}

}  // namespace

void CudaExecutor::State::watch_slot_weights(BudgetPlan const& plan, ConstTensorView const& weights,
                                             StreamView stream) {
  BudgetPlan::Lists const& lists = plan.lists();
  DevicePlanLists const& planned = lists.planner.lists();
  last_columns = lists.columns;
  launch_budget_watch({planned.rows, &planned.numbers->rows, lists.skeleton.num_tokens * lists.columns, weights.data(),
                       weights.dtype() == DType::f64, lists.columns, first_nan.as<unsigned long long>()},
                      stream);
}

ConstRows CudaExecutor::State::join_slots(BudgetStep const& step, ConstTensorView const& rows, DType dtype,
                                          std::optional<ConstTensorView> const& join_bias) {
  BudgetPlan::Lists const& lists = step.lists;
  ConstRows const parts{rows.data(), lists.joined_rows(), rows_of(rows).row_bytes};
  TreeBias bias{};
  if (join_bias && join_bias->shape().num_elements() > 0) {
    GroupGather const share = internal::share_of_rows(lists.skeleton, parts.count);
    std::int64_t const first =
        std::accumulate(share.receive_rows.begin(), share.receive_rows.begin() + comm.rank().value(), std::int64_t{0});
    launch_budget_row_experts(lists.chunks(), lists.world, first, share.own_rows,
                              lists.joined_experts.as<std::int32_t>(), step.stream);
    bias = {join_bias->data(), join_bias->dtype(), lists.joined_experts.as<std::int32_t const>(), step.hidden};
  }
  MoveCall const call{step.stream, step.digest_of(BudgetPhase::parts), step.deadline};
  return join_parts(call, lists.skeleton, parts, rows.dtype(), dtype, bias);
}

void CudaExecutor::State::combine_slots(BudgetPlan const& plan, CombineRecipe const& recipe,
                                        ConstTensorView expert_rows, CombineInputs const& inputs, TensorView out,
                                        SlotCall const& call) {
  BudgetPlan::Lists& lists = plan.lists();
  DispatchPlan const& known = lists.skeleton;
  require_supported(known, recipe, inputs.route);
  require_plan(known);
  bool const by_partials = sends_partials(known, recipe, inputs.route);
  Operands operands{recipe, inputs, {}, out, !by_partials || call.sends_weights || !lists.carries_weights(), partials};
  require_operands(plan, recipe, expert_rows, operands, by_partials);
  std::int64_t const hidden = out.extent(1);
  auto const payload = internal::payload_digest(known, expert_rows.dtype(), out.dtype(), hidden);
  bool const f64 = operands.weights_f64();
  auto const digest = internal::recipe_digest(payload, recipe, f64, by_partials);
  BudgetStep const step{lists,
                        comm,
                        call.stream,
                        hidden,
                        inputs.join_bias ? ~digest : digest,  // a bias on some ranks only is a mismatch
                        call.deadline};
  bool const joins = lists.has_parts() && recipe.tp_join == TpJoin::tree_then_row;
  if (joins && by_partials) {
    operands.rows = join_slots(step, expert_rows, out.dtype(), inputs.join_bias);
    operands.shares = {hidden * size_of(DType::f32), hidden * size_of(out.dtype())};
  } else {
    operands.rows = as_dtype(rows_of(expert_rows), expert_rows.dtype(), joins ? DType::f32 : out.dtype(), call.stream);
  }
  if (operands.sends_weights) watch_slot_weights(plan, inputs.weights, call.stream);
  if (by_partials)
    combine_partials(step, operands);
  else
    combine_singles(step, operands);
  if (inputs.shared_expert.has_value() && recipe.shared_expert == SharedExpert::after_rounding)
    launch_add_shared(out.data(), inputs.shared_expert->data(), out.shape().num_elements(), out.dtype(), call.stream);
}

void CudaExecutor::combine(BudgetPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
                           CombineInputs const& inputs, TensorView out, StreamView stream,
                           std::optional<Duration> deadline) {
  NvtxRange const range("combine");
  state_->combine_slots(plan, recipe, expert_rows, inputs, out, {stream, deadline, false});
}

void CudaExecutor::dispatch_backward(BudgetPlan const& plan, CombineRecipe const& recipe, ConstTensorView row_gradients,
                                     TensorView token_gradients, StreamView stream, std::optional<Duration> deadline) {
  NvtxRange const range("dispatch backward");
  BudgetPlan::Lists const& lists = plan.lists();
  CombineInputs inputs;
  inputs.weights =
      ConstTensorView(lists.ones.data(), DType::f32, {lists.skeleton.num_tokens, lists.columns}, MemorySpace::device);
  state_->combine_slots(plan, recipe, row_gradients, inputs, token_gradients, {stream, deadline, true});
}

}  // namespace switchyard::cuda
