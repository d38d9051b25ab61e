// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/stage_runner.hpp"

#include <numeric>
#include <vector>

#include "by_dtype.hpp"
#include "executor_state.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

DispatchStage const& stage_of(DispatchPlan const& plan, StageIndex index) {
  auto const& list = index.list == StageList::stages ? plan.stages : plan.row_return;
  SWITCHYARD_REQUIRE(index.position < list.size(), invalid_argument, "rank {} runs stage {} of {} in its {}",
                     plan.rank.value(), index.position, list.size(),
                     index.list == StageList::stages ? "stages" : "row_return");
  return list[index.position];
}

/// A gather behind MegaBlocks' exchange sorts rows or fills bins: every input has one output at most.
bool only_moves(DispatchPlan const& plan, StageIndex index) {
  return plan.setup.family == DispatchFamily::megablocks && index.position > 0;
}

/// out[i] = sum of rows[order[begin_i ...]], fp32, one rounding.
template <typename T>
void add_rows(std::int64_t hidden, ConstRows rows, std::int64_t const* begin, std::int64_t const* order, Rows out) {
  auto const* const from = reinterpret_cast<T const*>(rows.data);
  auto* const to = reinterpret_cast<T*>(out.data);
  for_items(out.count, out.row_bytes, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      hd::combine_row<T, T, hd::JoinPartials<float>>(from, hidden, hidden, order + begin[i], nullptr,
                                                     begin[i + 1] - begin[i], to + i * hidden);
  });
}

}  // namespace

/// What a call needs beside the plan.
struct StageRunner::State {
  explicit State(Communicator& communicator) : executor(communicator, ExecutionPath::staged) {}

  StageContext context_of(DispatchPlan const& plan, StageIndex index, ConstTensorView const& in, TensorView const& out,
                          std::int64_t in_rows, std::int64_t out_rows, std::optional<Duration> deadline) {
    executor.require_plan(plan);
    std::int64_t const hidden = require_matrix("input rows of a stage", in, in_rows, plan.rank);
    require_same_hidden(hidden, require_matrix("output rows of a stage", out, out_rows, plan.rank), plan.rank);
    SWITCHYARD_REQUIRE(in.dtype() == out.dtype(), shape_mismatch, "rank {} runs a stage from {} to {} rows",
                       plan.rank.value(), to_string(in.dtype()), to_string(out.dtype()));
    auto const& kernels = active_row_kernels();
    static_cast<void>(kernels_of(kernels, in.dtype()));
    std::int64_t const fields[] = {
        static_cast<std::int64_t>(internal::payload_digest(plan, in.dtype(), out.dtype(), hidden)),
        static_cast<std::int64_t>(index.list), static_cast<std::int64_t>(index.position)};
    FingerprintBuilder digest;
    digest.add(1, fields);
    return {executor.comm, plan, kernels, hidden, digest.result().value, deadline};
  }

  /// Every rank's share of the gradients of own rows, ranks ascending.
  void reduce_world(StageContext const& context, GroupGather const& stage, ConstRows in, DType dtype, Rows out) {
    std::int64_t const parts = parts_of(context.plan, stage);
    Rows const received = executor.partials.rows(checked_mul(parts, stage.own_rows), in.row_bytes);
    return_to_owners(context, stage, in, received);
    std::vector<std::int64_t> begin;
    std::vector<std::int64_t> order;
    for (std::int64_t row = 0; row < stage.own_rows; ++row) {
      begin.push_back(static_cast<std::int64_t>(order.size()));
      for (std::int64_t part = 0; part < parts; ++part) order.push_back(part * stage.own_rows + row);
    }
    begin.push_back(static_cast<std::int64_t>(order.size()));
    by_dtype(dtype,
             [&](auto zero) { add_rows<decltype(zero)>(context.hidden, received, begin.data(), order.data(), out); });
  }

  void run_backward(StageContext const& context, StageIndex index, DispatchStage const& stage, ConstRows in,
                    DType dtype, Rows out) {
    auto const* const gather = std::get_if<RowGather>(&stage);
    if (gather != nullptr && !only_moves(context.plan, index))
      return by_dtype(dtype, [&](auto zero) {
        add_rows<decltype(zero)>(context.hidden, in, gather->row_begin.data(), gather->rows_of_token.data(), out);
      });
    auto const* const gathered = std::get_if<GroupGather>(&stage);
    if (gathered != nullptr && gathered->group == GatherGroup::world)
      return reduce_world(context, *gathered, in, dtype, out);
    auto const* const sort = std::get_if<ChunkSort>(&stage);
    if (sort != nullptr) return sort_chunks(context, inverse_of(*sort), in, out);
    executor.run_inverse(context, stage, in, dtype, out, dtype, JoinBias());
  }

  CpuExecutor::State executor;
};

StageRunner::StageRunner(Communicator& comm) : state_(std::make_unique<State>(comm)) {}
StageRunner::~StageRunner() = default;
StageRunner::StageRunner(StageRunner&&) noexcept = default;
StageRunner& StageRunner::operator=(StageRunner&&) noexcept = default;

void StageRunner::forward(DispatchPlan const& plan, StageIndex index, ConstTensorView in, TensorView out,
                          std::optional<Duration> deadline) {
  auto const& stage = stage_of(plan, index);
  auto const context = state_->context_of(plan, index, in, out, input_rows(stage), output_rows(stage), deadline);
  state_->executor.run_forward(context, stage, rows_of(in), rows_of(out));
}

void StageRunner::backward(DispatchPlan const& plan, StageIndex index, ConstTensorView out_gradients,
                           TensorView in_gradients, std::optional<Duration> deadline) {
  auto const& stage = stage_of(plan, index);
  auto const context =
      state_->context_of(plan, index, out_gradients, in_gradients, output_rows(stage), input_rows(stage), deadline);
  state_->run_backward(context, index, stage, rows_of(out_gradients), out_gradients.dtype(), rows_of(in_gradients));
}

}  // namespace switchyard::cpu
