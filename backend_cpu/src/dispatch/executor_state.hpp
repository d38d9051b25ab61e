// SPDX-License-Identifier: Apache-2.0
/// CpuExecutor::State: how one rank runs the stages of a plan in either direction, and the checks of its calls.
#pragma once

#include <algorithm>
#include <cstdint>
#include <variant>
#include <vector>

#include "combine_recipes.hpp"
#include "gather_map.hpp"
#include "join_bias.hpp"
#include "split_combine.hpp"
#include "split_dispatch.hpp"
#include "stages.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/peer_memory.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {

/// Checks a [rows, H] matrix of a call and returns H.
std::int64_t require_matrix(char const* name, ConstTensorView const& view, std::int64_t rows, RankId rank);
void require_same_hidden(std::int64_t first, std::int64_t second, RankId rank);
[[nodiscard]] ConstRows rows_of(ConstTensorView const& view);
[[nodiscard]] Rows rows_of(TensorView const& view);

/// One direction at a time; the stages alternate between two scratch buffers.
struct CpuExecutor::State {
  State(Communicator& communicator, ExecutionPath path) : comm(communicator), execution(path) {}

  void require_plan(DispatchPlan const& plan) const {
    require_member(plan);
    require_valid(plan);
  }
  void require_member(DispatchPlan const& plan) const {
    SWITCHYARD_REQUIRE(plan.rank == comm.rank() && plan.setup.grid.world() == comm.size(), invalid_argument,
                       "the plan is for rank {} of {}, the communicator is rank {} of {}", plan.rank.value(),
                       plan.setup.grid.world(), comm.rank().value(), comm.size());
  }

  /// The scratch buffer that does not hold `current`.
  ScratchBuffer& next_buffer() {
    turn = 1 - turn;
    return alternating[turn];
  }

  void run_forward(StageContext const& context, DispatchStage const& stage, ConstRows in, Rows out) {
    if (auto const* gather = std::get_if<RowGather>(&stage)) return permute(context, *gather, in, out);
    if (auto const* exchanged = std::get_if<RowExchange>(&stage))
      return exchange(context, *exchanged, "dispatch exchange", in, out);
    if (auto const* gathered = std::get_if<GroupGather>(&stage)) return group_gather(context, *gathered, in, out);
    if (auto const* repeated = std::get_if<ShardRepeat>(&stage)) return repeat_shards(context, *repeated, in, out);
    sort_chunks(context, std::get<ChunkSort>(stage), in, out);
  }

  /// All stages of a dispatch; the last one writes `out`.
  void run_stages(StageContext const& context, ConstRows current, Rows out) {
    run_stages_from(context, 0, current, out);
  }
  void run_stages_from(StageContext const& context, std::size_t first, ConstRows current, Rows out) {
    auto const& stages = context.plan.stages;
    for (std::size_t i = first; i < stages.size(); ++i) {
      bool const last = i + 1 == stages.size();
      Rows const target = last ? out : next_buffer().rows(output_rows(stages[i]), current.row_bytes);
      run_forward(context, stages[i], current, target);
      current = target;
    }
  }

  /// One stage of a way back on which every row stays a row of its own.
  void run_inverse(StageContext const& context, DispatchStage const& stage, ConstRows in, DType in_dtype, Rows out,
                   DType out_dtype, JoinBias const& bias) {
    if (auto const* gathered = std::get_if<GroupGather>(&stage))
      return tp_reduce(context, *gathered, in, in_dtype, out, out_dtype, widened, partials, bias);
    if (auto const* repeated = std::get_if<ShardRepeat>(&stage))
      return join_shards(context, *repeated, in, in_dtype, out, out_dtype, widened);
    if (auto const* exchanged = std::get_if<RowExchange>(&stage))
      return exchange(context, inverse_of(*exchanged), "combine exchange", in, out);
    if (auto const* gather = std::get_if<RowGather>(&stage)) return undo_permute(context, *gather, in, out);
    sort_chunks(context, restoring_sort(context.plan.setup, std::get<ChunkSort>(stage)), in, out);
  }

  /// Results that nobody joins are rounded before they travel.
  void round_before_return(StageContext const& context, ReturningRows& current, DType dtype, ScratchBuffer& buffer) {
    auto const& path = return_path(context.plan);
    if (current.dtype == dtype || std::any_of(path.begin(), path.end(), joins_partials)) return;
    Rows const rounded = buffer.rows(current.rows.count, context.hidden * size_of(dtype));
    round_rows(context, current.rows, rounded, dtype);
    current = {rounded, dtype};
  }

  /// One stage of the way home.
  void step_home(StageContext const& context, DispatchStage const& stage, ReturningRows& current, DType dtype,
                 JoinBias& bias, ScratchBuffer& buffer) {
    bool const joins = joins_partials(stage);
    std::int64_t const bytes = joins ? context.hidden * size_of(dtype) : current.rows.row_bytes;
    Rows const target = buffer.rows(input_rows(stage), bytes);
    bias.follow(context, stage);
    run_inverse(context, stage, current.rows, current.dtype, target, dtype, bias);
    current = {target, joins ? dtype : current.dtype};
  }

  /// @return every (token, slot) row of this rank's tokens, of `dtype`.
  ConstRows bring_home(StageContext const& context, ConstTensorView const& expert_rows, DType dtype, JoinBias bias) {
    auto const& path = return_path(context.plan);
    ReturningRows current{rows_of(expert_rows), expert_rows.dtype()};
    round_before_return(context, current, dtype, next_buffer());
    for (std::size_t i = path.size(); i-- > 1;) step_home(context, path[i], current, dtype, bias, next_buffer());
    return current.rows;
  }

  /// Sends (token, slot) rows to the experts along the path on which they return.
  /// @param fill(Rows) writes them in the order of the source's gather. @param out the expert rows
  template <typename Fill>
  void send_rows(StageContext const& context, Fill const& fill, Rows out) {
    auto const& path = return_path(context.plan);
    Rows const first = path.size() == 1 ? out : next_buffer().rows(output_rows(path.front()), out.row_bytes);
    fill(first);
    ConstRows current = first;
    for (std::size_t i = 1; i < path.size(); ++i) {
      Rows const target = i + 1 == path.size() ? out : next_buffer().rows(output_rows(path[i]), out.row_bytes);
      run_forward(context, path[i], current, target);
      current = target;
    }
  }

  // The composed path (composed_path.cpp): stages carry the names of the rows once per plan, then rows move once.

  /// @return the memory that lets this call run composed, or null. @throws Error{unsupported} when it has to.
  [[nodiscard]] PeerMemory* shared_memory() const;
  void dispatch_composed(StageContext const& context, PeerMemory& memory, ConstRows tokens, Rows rows);
  /// @param rows expert rows of `in_dtype`; @param dtype the rows that `sum` takes
  void combine_composed(StageContext const& context, PeerMemory& memory, SourceSum const& sum, ConstRows rows,
                        DType in_dtype, DType dtype);
  /// Makes sure that `map` is of the plans of this call, on all ranks. @param compose(map) fills origins
  template <typename Compose>
  void agree_on_map(StageContext const& context, GatherMap& map, std::int64_t published_rows, Compose const& compose);
  void compose_dispatch(StageContext const& context, GatherMap& map);
  void compose_combine(StageContext const& context, GatherMap& map);
  /// A joining stage backwards for names: the parts of a row become neighbours.
  ConstRows gather_parts(StageContext const& context, DispatchStage const& stage, ConstRows in, GatherMap& map);

  // A dispatch in two halves (split_dispatch.cpp).

  void start(StageContext const& context, ConstRows tokens, DType dtype);
  void finish(DispatchPlan const& plan, Rows rows, DType dtype, std::int64_t hidden);

  // A combine in two halves (split_combine.cpp).

  /// Checks the operands of a combine. @return H
  std::int64_t require_combine(DispatchPlan const& plan, CombineRecipe const& recipe,
                               ConstTensorView const& expert_rows, CombineInputs const& inputs,
                               TensorView const& out) const;
  void start_return(StageContext const& context, StartedCombine& begun);
  void finish_return(StageContext const& context, StartedCombine& begun);

  Communicator& comm;
  ExecutionPath execution;
  GatherMap dispatch_map;  ///< of the plans executed last
  GatherMap combine_map;
  ScratchBuffer alternating[2];
  int turn = 0;
  ScratchBuffer widened;
  ScratchBuffer partials;
  PartialBuffers rank_sums;
  ScratchBuffer in_flight[2];  ///< sent and received rows of a started dispatch
  std::optional<StartedDispatch> started;
  ScratchBuffer in_return[2];  ///< sent and received rows of a started combine
  std::optional<StartedCombine> combining;
};

}  // namespace switchyard::cpu
