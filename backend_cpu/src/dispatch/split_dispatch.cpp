// SPDX-License-Identifier: Apache-2.0
#include "split_dispatch.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "executor_state.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// The place of the exchange among stages that need no other rank, or nothing.
std::optional<std::size_t> exchange_place(DispatchPlan const& plan) {
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    if (std::holds_alternative<RowExchange>(plan.stages[i])) return i;
    if (!std::holds_alternative<RowGather>(plan.stages[i]) && !std::holds_alternative<ShardRepeat>(plan.stages[i]))
      break;
  }
  return std::nullopt;
}

/// The first half of a plan cannot be validated as a plan; this is what keeps its stages inside their buffers.
void require_safe(RowGather const& gather, std::int64_t inputs, RankId rank) {
  auto const bad = std::find_if(gather.token_of_row.begin(), gather.token_of_row.end(),
                                [&](std::int64_t token) { return token < -1 || token >= inputs; });
  SWITCHYARD_REQUIRE(bad == gather.token_of_row.end(), invalid_plan, "row {} of rank {} is a copy of token {} of {}",
                     bad - gather.token_of_row.begin(), rank.value(), *bad, inputs);
}

void require_safe(ShardRepeat const& repeat, std::int64_t inputs, RankId rank) {
  SWITCHYARD_REQUIRE(repeat.rows == inputs && repeat.copies >= 1, invalid_plan,
                     "rank {} repeats {} rows {} times, but has {}", rank.value(), repeat.rows, repeat.copies, inputs);
}

void require_safe(RowExchange const& exchange, std::int64_t inputs, RankId rank, int world) {
  bool const sizes = exchange.send_rows.size() == to_size(world) && exchange.receive_rows.size() == to_size(world);
  SWITCHYARD_REQUIRE(sizes, invalid_plan, "rank {} exchanges rows with {} and {} ranks of {}", rank.value(),
                     exchange.send_rows.size(), exchange.receive_rows.size(), world);
  bool const counts =
      std::all_of(exchange.send_rows.begin(), exchange.send_rows.end(), [](auto n) { return n >= 0; }) &&
      std::all_of(exchange.receive_rows.begin(), exchange.receive_rows.end(), [](auto n) { return n >= 0; });
  SWITCHYARD_REQUIRE(counts && input_rows(exchange) == inputs, invalid_plan,
                     "rank {} exchanges {} rows, but has {}, or expects a negative number of them", rank.value(),
                     input_rows(exchange), inputs);
}

std::vector<std::int64_t> in_bytes(std::vector<std::int64_t> rows, std::int64_t row_bytes) {
  for (std::int64_t& count : rows) count = checked_mul(count, row_bytes);
  return rows;
}

}  // namespace

void CpuExecutor::State::start(StageContext const& context, ConstRows tokens, DType dtype) {
  auto const& plan = context.plan;
  StartedDispatch begun{
      plan.setup, plan.num_tokens, context.hidden, dtype, context.configuration, context.deadline, tokens, 0, {}, {},
      {}};
  auto const place = exchange_place(plan);
  for (std::size_t i = 0; place && i < *place; ++i) {
    auto const* const gather = std::get_if<RowGather>(&plan.stages[i]);
    if (gather != nullptr) {
      require_safe(*gather, begun.sent.count, plan.rank);
    } else {
      require_safe(std::get<ShardRepeat>(plan.stages[i]), begun.sent.count, plan.rank);
    }
    Rows const out = in_flight[i % 2].rows(output_rows(plan.stages[i]), tokens.row_bytes);
    run_forward(context, plan.stages[i], begun.sent, out);
    begun.sent = out;
  }
  if (place) {
    auto const& exchange = std::get<RowExchange>(plan.stages[*place]);
    require_safe(exchange, begun.sent.count, plan.rank, comm.size());
    begun.next_stage = *place;
    begun.exchange = exchange;
    begun.received = in_flight[*place % 2].rows(output_rows(exchange), tokens.row_bytes);
    if (SplitCalls* const split = split_calls(comm)) {
      auto const send = in_bytes(exchange.send_rows, tokens.row_bytes);
      auto const receive = in_bytes(exchange.receive_rows, tokens.row_bytes);
      begun.call = split->start_all_to_all_v(begun.sent.bytes(), send, begun.received.bytes(), receive,
                                             {"dispatch exchange", context.configuration, context.deadline});
    }
  }
  started = std::move(begun);
}

void CpuExecutor::State::finish(DispatchPlan const& plan, Rows rows, DType dtype, std::int64_t hidden) {
  SWITCHYARD_REQUIRE(started.has_value(), invalid_argument, "rank {} finishes a dispatch that it has not started",
                     plan.rank.value());
  StartedDispatch const begun = std::exchange(started, std::nullopt).value();
  bool const same = plan.setup == begun.setup && plan.num_tokens == begun.num_tokens &&
                    exchange_place(plan).has_value() == begun.exchange.has_value() &&
                    (!begun.exchange || (begun.next_stage < plan.stages.size() &&
                                         plan.stages[begun.next_stage] == DispatchStage(*begun.exchange)));
  SWITCHYARD_REQUIRE(same, invalid_plan,
                     "rank {} finishes a dispatch with another plan than it started with: pass the plan that was "
                     "completed from the same sends",
                     plan.rank.value());
  SWITCHYARD_REQUIRE(dtype == begun.dtype && hidden == begun.hidden, shape_mismatch,
                     "rank {} started a dispatch of {} x {} and finishes it with {} x {}", plan.rank.value(),
                     to_string(begun.dtype), begun.hidden, to_string(dtype), hidden);
  StageContext const context{comm, plan, active_row_kernels(), hidden, begun.configuration, begun.deadline};
  ConstRows current = begun.sent;
  std::size_t next = 0;
  if (begun.exchange) {
    if (begun.call) {
      begun.call->finish();
    } else {
      exchange(context, *begun.exchange, "dispatch exchange", current, begun.received);
    }
    current = begun.received;
    next = begun.next_stage + 1;
  }
  if (next == plan.stages.size() && !rows.bytes().empty()) std::memcpy(rows.data, current.data, rows.bytes().size());
  run_stages_from(context, next, current, rows);
}

void CpuExecutor::start_dispatch(DispatchPlan const& sends, ConstTensorView tokens, std::optional<Duration> deadline) {
  SWITCHYARD_REQUIRE(!state_->started.has_value(), invalid_argument,
                     "rank {} starts a dispatch while another is in flight: finish that one first", sends.rank.value());
  state_->require_member(sends);
  std::int64_t const hidden = require_matrix("tokens", tokens, sends.num_tokens, sends.rank);
  auto const& kernels = active_row_kernels();
  static_cast<void>(kernels_of(kernels, tokens.dtype()));
  auto const digest = internal::payload_digest(sends, tokens.dtype(), tokens.dtype(), hidden);
  state_->start({state_->comm, sends, kernels, hidden, digest, deadline}, rows_of(tokens), tokens.dtype());
}

void CpuExecutor::finish_dispatch(DispatchPlan const& plan, TensorView rows) {
  state_->require_plan(plan);
  std::int64_t const hidden = require_matrix("expert rows", rows, plan.num_expert_rows(), plan.rank);
  state_->finish(plan, rows_of(rows), rows.dtype(), hidden);
}

}  // namespace switchyard::cpu
