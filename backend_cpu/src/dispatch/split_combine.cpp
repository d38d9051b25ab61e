// SPDX-License-Identifier: Apache-2.0
#include "split_combine.hpp"

#include <utility>

#include "executor_state.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// The place of the exchange on the way of single rows, or nothing.
std::optional<std::size_t> exchange_place(std::vector<DispatchStage> const& path) {
  for (std::size_t i = 1; i < path.size(); ++i)
    if (std::holds_alternative<RowExchange>(path[i])) return i;
  return std::nullopt;
}

std::vector<std::int64_t> in_bytes(std::vector<std::int64_t> rows, std::int64_t row_bytes) {
  for (std::int64_t& count : rows) count = checked_mul(count, row_bytes);
  return rows;
}

}  // namespace

void CpuExecutor::State::start_return(StageContext const& context, StartedCombine& begun) {
  auto const& path = return_path(context.plan);
  std::size_t const place = *begun.exchange;
  DType const dtype = begun.out.dtype();
  JoinBias bias(context, begun.inputs);
  ReturningRows current{rows_of(begun.expert_rows), begun.expert_rows.dtype()};
  round_before_return(context, current, dtype, place + 1 == path.size() ? in_return[0] : next_buffer());
  for (std::size_t i = path.size(); i-- > place + 1;)
    step_home(context, path[i], current, dtype, bias, i == place + 1 ? in_return[0] : next_buffer());
  RowExchange const back = inverse_of(std::get<RowExchange>(path[place]));
  begun.sent = current.rows;
  begun.received = in_return[1].rows(output_rows(back), current.rows.row_bytes);
  if (SplitCalls* const split = split_calls(comm)) {
    auto const send = in_bytes(back.send_rows, current.rows.row_bytes);
    auto const receive = in_bytes(back.receive_rows, current.rows.row_bytes);
    begun.call = split->start_all_to_all_v(begun.sent.bytes(), send, begun.received.bytes(), receive,
                                           {"combine exchange", context.configuration, context.deadline});
  }
}

void CpuExecutor::State::finish_return(StageContext const& context, StartedCombine& begun) {
  auto const& path = return_path(context.plan);
  std::size_t const place = *begun.exchange;
  if (begun.call) {
    begun.call->finish();
  } else {
    exchange(context, inverse_of(std::get<RowExchange>(path[place])), "combine exchange", begun.sent, begun.received);
  }
  JoinBias none;
  ReturningRows current{begun.received, begun.out.dtype()};
  for (std::size_t i = place; i-- > 1;) step_home(context, path[i], current, begun.out.dtype(), none, next_buffer());
  SourceSum const sum(context, begun.recipe, begun.out.dtype(), begun.inputs, rows_of(begun.out).data);
  sum_home_rows(sum, current.rows);
  add_shared_rows(context, begun.recipe, begun.inputs, begun.out);
}

void CpuExecutor::start_combine(DispatchPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
                                CombineInputs const& inputs, TensorView out, std::optional<Duration> deadline) {
  SWITCHYARD_REQUIRE(!state_->combining.has_value(), invalid_argument,
                     "rank {} starts a combine while another is under way: finish that one first", plan.rank.value());
  StartedCombine begun{plan, recipe, expert_rows, inputs, {}, out, deadline};
  if (inputs.weights_applied) {
    begun.ones = unit_weights(plan);
    begun.inputs = with_weights(inputs, begun.ones);
  }
  std::int64_t const hidden = state_->require_combine(plan, recipe, expert_rows, begun.inputs, out);
  if (!sends_partials(plan, recipe, inputs.route)) begun.exchange = exchange_place(return_path(plan));
  if (begun.exchange) {
    static_cast<void>(float_weights(plan, source_gather(plan), begun.inputs));  // refused before rows move
    auto const digest = internal::payload_digest(plan, expert_rows.dtype(), out.dtype(), hidden);
    begun.configuration = with_recipe(digest, plan, recipe, begun.inputs);
    state_->start_return({state_->comm, plan, active_row_kernels(), hidden, begun.configuration, deadline}, begun);
  }
  state_->combining.emplace(std::move(begun));
}

void CpuExecutor::finish_combine() {
  SWITCHYARD_REQUIRE(state_->combining.has_value(), invalid_argument,
                     "rank {} finishes a combine that it has not started", state_->comm.rank().value());
  StartedCombine begun = std::move(*state_->combining);
  state_->combining.reset();
  if (!begun.exchange)
    return combine(begun.plan, begun.recipe, begun.expert_rows, begun.inputs, begun.out, begun.deadline);
  state_->finish_return(
      {state_->comm, begun.plan, active_row_kernels(), begun.out.extent(1), begun.configuration, begun.deadline},
      begun);
}

}  // namespace switchyard::cpu
