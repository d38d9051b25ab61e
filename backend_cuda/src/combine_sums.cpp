// SPDX-License-Identifier: Apache-2.0
// The sums of a combine: at the source rank of single rows, or at the experts' ranks with one partial per token.
#include <utility>

#include "executor_state.hpp"
#include "nvtx_range.hpp"
#include "recipe_sums.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

SumRowsParams sum_of(DeviceTerms const& terms, void const* rows, DType row_dtype, void const* weights, void* output,
                     DType out_dtype, std::int64_t columns) {
  return {rows,
          row_dtype,
          output,
          out_dtype,
          terms.begin.as<std::int64_t const>(),
          terms.rows.as<std::int64_t const>(),
          weights,
          terms.num_sums,
          columns};
}

}  // namespace

void CudaExecutor::State::sum_at_source(StepContext const& context, CombineRecipe const& recipe, ConstRows rows,
                                        DType dtype, CombineInputs const& inputs, void* out) {
  NvtxRange const range("sum rows");
  if (recipe.order == SumOrder::rank_then_expert) return sum_ranks_at_source(context, recipe, rows, dtype, inputs, out);
  bool const f64 = inputs.weights.dtype() == DType::f64;
  bool const keeps_f64 = f64 && is_exact(recipe);
  DeviceTerms const& terms = context.lists.source_terms(recipe.order);
  void const* const weights = weights_of(context, terms, inputs.weights.data(), f64, keeps_f64, true);
  SumRowsParams const sum = sum_of(terms, rows.data, dtype, weights, out, dtype, context.hidden);
  if (is_exact(recipe)) return launch_exact_rows({sum, keeps_f64, shared_term(recipe, inputs)}, context.stream);
  launch_sum_rows(source_step(recipe), sum, context.stream);
}

void CudaExecutor::State::sum_ranks_at_source(StepContext const& context, CombineRecipe const& recipe, ConstRows rows,
                                              DType dtype, CombineInputs const& inputs, void* out) {
  DeviceRankSums const& sums = context.lists.rank_sums();
  Wire const wire = wire_of(recipe, dtype, false);
  bool const f64 = inputs.weights.dtype() == DType::f64;
  void const* const weights = weights_of(context, sums.partials, inputs.weights.data(), f64, false, true);
  std::int64_t const row_bytes = checked_mul(context.hidden, size_of(wire.dtype));
  void* const held = partials.reserve(checked_mul(sums.partials.num_sums, row_bytes));
  launch_sum_rows(wire.add, sum_of(sums.partials, rows.data, dtype, weights, held, wire.dtype, context.hidden),
                  context.stream);
  launch_sum_rows(wire.join, sum_of(sums.joins, held, wire.dtype, nullptr, out, dtype, context.hidden), context.stream);
}

ConstRows CudaExecutor::State::join_parts(MoveCall const& call, DispatchPlan const& plan, ConstRows in, DType in_dtype,
                                          DType dtype, TreeBias const& bias) {
  std::int64_t const hidden = in.row_bytes / size_of(in_dtype);
  std::int64_t const row_bytes = hidden * size_of(dtype);
  Rows const all{results.reserve(checked_mul(in.count, row_bytes)), in.count, row_bytes};
  if (in_dtype != DType::f32) {
    Rows const floats = next_rows(in.count, hidden * std::int64_t{sizeof(float)});
    convert_rows(in, in_dtype, floats, DType::f32, call.stream);
    in = floats;
  }
  GroupGather const share = internal::share_of_rows(plan, in.count);
  MoveStep const reduce = reduce_move(plan, share);
  Rows const received = next_rows(reduce.output_rows, in.row_bytes);
  move(call, reduce, in, received);
  Rows const mine{joined.reserve(checked_mul(share.own_rows, row_bytes)), share.own_rows, row_bytes};
  launch_tree_sum(
      {static_cast<float*>(received.data), share.own_rows * hidden, plan.setup.grid.tp, mine.data, dtype, bias},
      call.stream);
  move(call, gather_move(plan, share), mine, all);
  return all;
}

ConstRows CudaExecutor::State::expert_results(StepContext const& context, CombineRecipe const& recipe, ConstRows in,
                                              DType in_dtype, DType dtype,
                                              std::optional<ConstTensorView> const& join_bias) {
  DispatchPlan const& plan = context.lists.plan;
  bool const joins = recipe.tp_join == TpJoin::tree_then_row && plan.setup.grid.tp > 1;
  if (!joins) return as_dtype(in, in_dtype, dtype, context.stream);
  return join_parts(context, plan, in, in_dtype, dtype, tree_bias(context, join_bias, true));
}

void const* CudaExecutor::State::carried_weights(StepContext const& context, CombineInputs const& inputs, bool as_f64) {
  DispatchPlan const& plan = context.lists.plan;
  bool const f64 = inputs.weights.dtype() == DType::f64;
  // Refuses NaNs where they are known; the gathered weights themselves are not used here.
  static_cast<void>(
      weights_of(context, context.lists.source_terms(SumOrder::source_slot), inputs.weights.data(), f64, as_f64, true));
  std::int64_t const bytes = as_f64 ? std::int64_t{sizeof(double)} : std::int64_t{sizeof(float)};
  ConstRows own{inputs.weights.data(), plan.num_tokens, plan.slot_columns * bytes};
  if (f64 && !as_f64) {
    std::int64_t const count = plan.num_tokens * plan.slot_columns;
    own.data = own_weights.reserve(checked_mul(count, bytes));
    GatherWeightsParams round{};
    round.weights = inputs.weights.data();
    round.weights_f64 = true;
    round.output = const_cast<void*>(own.data);
    round.count = count;
    launch_gather_weights(round, context.stream);
  }
  ConstRows const carried = carry(context, context.lists.weight_path(), own, nullptr);
  return weights_of(context, context.lists.expansion(), carried.data, as_f64, as_f64, false);
}

void CudaExecutor::State::sum_over_ranks(StepContext const& context, CombineRecipe const& recipe, ConstRows expert_rows,
                                         DType in_dtype, DType dtype, CombineInputs const& inputs, void* out) {
  NvtxRange const range("sum partials");
  bool const f64 = inputs.weights.dtype() == DType::f64;
  bool const exact = is_exact(recipe);
  Wire const wire = wire_of(recipe, dtype, f64);
  ConstRows const rows = expert_results(context, recipe, expert_rows, in_dtype, dtype, inputs.join_bias);
  bool const as_f64 = exact ? f64 : wire.weights_f64;
  void const* const weights = carried_weights(context, inputs, as_f64);

  DeviceTerms const& expansion = context.lists.expansion();
  DevicePartials const& path = context.lists.partials(recipe.tp_join);
  std::int64_t const element_bytes = exact ? exact_state_bytes(dtype, f64) : size_of(wire.dtype);
  std::int64_t const wire_bytes = checked_mul(context.hidden, element_bytes);
  Rows const held{partials.reserve(checked_mul(path.back.input_rows, wire_bytes)), path.back.input_rows, wire_bytes};
  Rows const back{returned.reserve(checked_mul(path.back.output_rows, wire_bytes)), path.back.output_rows, wire_bytes};
  SumRowsParams const add =
      sum_of(expansion, rows.data, dtype, weights, held.data, exact ? dtype : wire.dtype, context.hidden);
  SumRowsParams const join =
      sum_of(path.joins, back.data, exact ? dtype : wire.dtype, nullptr, out, dtype, context.hidden);
  if (exact) {
    launch_exact_partials({add, f64, nullptr}, context.stream);
    move(context, path.back, held, back);
    return launch_exact_join({join, f64, shared_term(recipe, inputs)}, context.stream);
  }
  launch_sum_rows(wire.add, add, context.stream);
  move(context, path.back, held, back);
  launch_sum_rows(wire.join, join, context.stream);
}

}  // namespace switchyard::cuda
