// SPDX-License-Identifier: Apache-2.0
// The calls of CudaExecutor over slots of fixed size, but for the sums of a combine.
#include "budget_steps.hpp"

#include "executor_state.hpp"
#include "nvtx_range.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/hd/mix.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {

std::uint64_t BudgetStep::digest_of(BudgetPhase phase) const {
  return hd::fingerprint_word(static_cast<std::uint32_t>(phase), digest,
                              static_cast<std::int64_t>(lists.planner.configuration()));
}

void require_slot_row(BudgetPlan::Lists const& lists, std::int64_t row_bytes, char const* name) {
  SWITCHYARD_REQUIRE(row_bytes <= lists.options.max_row_bytes, unsupported,
                     "{} of rank {} have {} bytes per row, the plan's slots hold {}: give BudgetOptions::max_row_bytes "
                     "for the widest rows that travel",
                     name, lists.skeleton.rank.value(), row_bytes, lists.options.max_row_bytes);
}

void gather_slots(BudgetStep const& step, void const* input, void* output, DeviceBuffer const& map, std::int64_t rows,
                  std::int64_t row_bytes) {
  NvtxRange const range("permute");
  GatherRowsParams params{input, output, nullptr, rows, row_bytes};
  params.map32 = map.as<std::int32_t const>();
  launch_gather_rows(params, step.stream);
}

void send_singles(BudgetStep const& step, BudgetExchange const& exchange, BudgetCall call, TensorView rows) {
  BudgetPlan::Lists& lists = step.lists;
  std::int64_t const row_bytes = rows.extent(1) * size_of(rows.dtype());
  std::int64_t const count = rows.extent(0);
  call.within_lane = true;
  lists.move(step.comm, lists.single, false, call, {{lists.slots, row_bytes}});
  if (lists.has_parts()) lists.gather_in_group(step.comm, call, row_bytes);
  launch_budget_land_singles(exchange, lists.chunks(), count, lists.land_map.as<std::int32_t>(), step.stream);
  gather_slots(step, lists.slots.data(), rows.data(), lists.land_map, count, row_bytes);
}

namespace {

/// What is added to the parts of rows of this rank's lane.
TreeBias bias_of(BudgetStep const& step, std::optional<ConstTensorView> const& bias) {
  if (!bias || bias->shape().num_elements() == 0) return {};
  return {bias->data(), bias->dtype(), step.lists.joined_experts.as<std::int32_t const>(), step.hidden};
}

}  // namespace

BudgetExchange bring_home(BudgetStep const& step, BudgetResults const& results, BudgetPhase phase,
                          char const* operation) {
  BudgetPlan::Lists& lists = step.lists;
  BudgetRoute const& route = lists.single;
  std::int64_t const row_bytes = step.hidden * size_of(results.dtype);
  BudgetExchange const exchange = lists.exchange(route, true, step.digest_of(phase));
  TreeBias const bias = bias_of(step, results.join_bias);
  launch_budget_send_singles(exchange, lists.chunks(), lists.send_map.as<std::int32_t>(),
                             bias.values != nullptr ? lists.joined_experts.as<std::int32_t>() : nullptr, step.stream);
  gather_slots(step, results.rows.data, lists.slots.data(), lists.send_map, lists.world * route.slot_rows,
               results.rows.row_bytes);
  BudgetCall call = step.call(operation, phase);
  call.within_lane = true;
  if (lists.has_parts()) {
    std::int64_t const part_bytes = results.rows.row_bytes;
    lists.reduce_in_group(step.comm, call, part_bytes);
    RankId const first_of_lane{lists.grid().tp_rank_of(lists.skeleton.rank)};
    void* const parts = lists.received_slot(route, RankId{0}, part_bytes);
    launch_tree_sum({static_cast<float*>(parts), lists.grid().ep * route.slot_rows * step.hidden, lists.grid().tp,
                     lists.sent_slot(route, first_of_lane, row_bytes), results.dtype, bias},
                    step.stream);
  }
  lists.move(step.comm, route, true, call, {{lists.slots, row_bytes}});
  return exchange;
}

void land_weights(BudgetStep const& step, BudgetExchange const& exchange, bool weights_f64, DeviceBuffer const& output,
                  bool output_f64) {
  BudgetPlan::Lists const& lists = step.lists;
  BudgetWeightsParams params{};
  params.exchange = exchange;
  params.expansion = lists.planner.lists().expansion;
  params.weights = lists.weight_slots.data();
  params.weights_f64 = weights_f64;
  params.output = output.data();
  params.output_f64 = output_f64;
  params.columns = lists.columns;
  params.max_received = lists.world * lists.carried.slot_rows;
  launch_budget_land_weights(params, step.stream);
}

void CudaExecutor::plan(BudgetPlan const& plan, DeviceRouting const& routing, StreamView stream) {
  NvtxRange const range("plan");
  BudgetPlan::Lists& lists = plan.lists();
  state_->require_plan(lists.skeleton);
  SWITCHYARD_REQUIRE(!lists.carries_weights() || routing.weights != nullptr || routing.tokens == 0, invalid_argument,
                     "rank {} plans without weights, which its dispatch carries", lists.skeleton.rank.value());
  lists.planner.assign(routing, stream);
  lists.planner.exchange(state_->comm, stream);
  lists.planner.plan(stream);
  lists.skeleton.num_tokens = routing.tokens;
  bool const has_ids = lists.options.planner.form == RoutingForm::topk && !lists.options.planner.capacity;
  lists.weights = routing.weights;
  lists.experts = has_ids ? routing.ids : nullptr;
  lists.plan(stream);
}

void CudaExecutor::dispatch(BudgetPlan const& plan, ConstTensorView tokens, TensorView rows, StreamView stream,
                            std::optional<Duration> deadline) {
  NvtxRange const range("dispatch");
  BudgetPlan::Lists& lists = plan.lists();
  DispatchPlan const& known = lists.skeleton;
  state_->require_plan(known);
  std::int64_t const hidden = require_matrix("tokens", tokens, known.num_tokens, known.rank);
  require_same_hidden(hidden, require_matrix("expert rows", rows, plan.expert_rows(), known.rank), known.rank);
  SWITCHYARD_REQUIRE(tokens.dtype() == rows.dtype(), shape_mismatch, "rank {} dispatches {} tokens into {} rows",
                     known.rank.value(), to_string(tokens.dtype()), to_string(rows.dtype()));
  std::int64_t const row_bytes = hidden * size_of(tokens.dtype());
  require_slot_row(lists, row_bytes, "tokens");

  BudgetStep const step{
      lists,   state_->comm, stream, hidden, internal::payload_digest(known, tokens.dtype(), rows.dtype(), hidden),
      deadline};
  BudgetRoute const& route = lists.outward();
  BudgetExchange const exchange = lists.exchange(route, false, step.digest_of(BudgetPhase::dispatch));
  launch_budget_send_tokens(exchange, route.rows.token_of_row, lists.send_map.as<std::int32_t>(), stream);
  gather_slots(step, tokens.data(), lists.slots.data(), lists.send_map, lists.world * route.slot_rows, row_bytes);
  BudgetCall const call = step.call("dispatch slots", BudgetPhase::dispatch);
  lists.note_dispatch(row_bytes);
  if (lists.dispatches_singles()) return send_singles(step, exchange, call, rows);
  if (lists.carries_weights()) {
    std::int64_t const weight_bytes = lists.columns * static_cast<std::int64_t>(sizeof(float));
    gather_slots(step, lists.kept_weights(), lists.weight_slots.data(), lists.send_map, lists.world * route.slot_rows,
                 weight_bytes);
    lists.move(step.comm, route, false, call, {{lists.slots, row_bytes}, {lists.weight_slots, weight_bytes}});
    land_weights(step, exchange, false, lists.expert_weights, false);
  } else {
    lists.move(step.comm, route, false, call, {{lists.slots, row_bytes}});
  }
  launch_budget_land_carried(exchange, lists.planner.lists(), plan.expert_rows(), lists.land_map.as<std::int32_t>(),
                             stream);
  gather_slots(step, lists.slots.data(), rows.data(), lists.land_map, plan.expert_rows(), row_bytes);
}

void CudaExecutor::check(BudgetPlan const& plan, StreamView stream) {
  state_->comm.wait(stream);
  plan.lists().check(stream);
  check(stream);
}

BudgetTraffic CudaExecutor::traffic(BudgetPlan const& plan, StreamView stream) const {
  return plan.lists().traffic(stream);
}

}  // namespace switchyard::cuda
