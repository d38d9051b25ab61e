// SPDX-License-Identifier: Apache-2.0
/// CudaExecutor::State: scratch memory of one rank, and how a path's steps run on a stream.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "device_lists.hpp"
#include "scratch.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/pinned_buffer.hpp"
#include "switchyard/cuda/sums.hpp"

namespace switchyard::cuda {

/// Rows in device memory, contiguous.
struct ConstRows {
  void const* data;
  std::int64_t count;
  std::int64_t row_bytes;
};
struct Rows {
  void* data;
  std::int64_t count;
  std::int64_t row_bytes;
  operator ConstRows() const { return {data, count, row_bytes}; }  // NOLINT(google-explicit-constructor)
};

/// How moves of one call are issued.
struct MoveCall {
  StreamView stream;
  std::uint64_t configuration;
  std::optional<Duration> deadline;
};

/// What the steps of one call share.
struct StepContext {
  DevicePlan::Lists& lists;
  StreamView stream;
  std::int64_t hidden;
  std::uint64_t configuration;
  std::optional<Duration> deadline;
  operator MoveCall() const { return {stream, configuration, deadline}; }  // NOLINT(google-explicit-constructor)
};

/// Checks a [rows, H] device matrix of a call and returns H.
std::int64_t require_matrix(char const* name, ConstTensorView const& view, std::int64_t rows, RankId rank);
void require_same_hidden(std::int64_t first, std::int64_t second, RankId rank);
/// @throws Error{unsupported} unless rows of it can be computed with.
void require_row_dtype(DType dtype, RankId rank);
/// Check operands of a combine of `plan`. @throws Error{shape_mismatch, unsupported}
void require_expert_dtype(DispatchPlan const& plan, DType rows, DType result);
void require_weights(DispatchPlan const& plan, ConstTensorView const& weights);
void require_shared_rows(DispatchPlan const& plan, CombineInputs const& inputs, std::int64_t hidden, DType dtype);
[[nodiscard]] ConstRows rows_of(ConstTensorView const& view);
[[nodiscard]] Rows rows_of(TensorView const& view);
/// @param out as many rows of `out_dtype`, one of the two dtypes is f32 or they are equal
void convert_rows(ConstRows in, DType in_dtype, Rows out, DType out_dtype, StreamView stream);
/// What a tree sum adds to the rows that this rank joins.
[[nodiscard]] TreeBias tree_bias(StepContext const& context, std::optional<ConstTensorView> const& bias,
                                 bool in_shares);

struct BudgetStep;

struct CudaExecutor::State {
  explicit State(DeviceCommunicator& communicator);

  void require_plan(DispatchPlan const& plan) const;

  /// The scratch buffer that does not hold what the last call of this function returned.
  Rows next_rows(std::int64_t count, std::int64_t row_bytes);

  void move(MoveCall const& call, MoveStep const& step, ConstRows in, Rows out);
  void gather(StepContext const& context, DeviceStep const& step, ConstRows in, Rows out);
  /// move(), and beside it, on a stream of its own, the rows that pass it. The caller joins `passed` afterwards.
  void move_beside_own(StepContext const& context, MoveStep const& step, ConstRows in, Rows out, DeviceStep const& own,
                       ConstRows own_in, Rows own_out);

  /// Runs steps that only move. @param last_out where the last step writes, or a scratch buffer when null.
  ConstRows carry(StepContext const& context, DevicePath const& path, ConstRows current, Rows const* last_out);
  /// The same for a path that own rows pass: every buffer but the last holds rows of others only.
  ConstRows carry_forked(StepContext const& context, DevicePath const& path, ConstRows input, Rows const* last_out);
  /// @return every (token, slot) row of this rank's tokens, of `dtype`.
  ConstRows bring_home(StepContext const& context, ConstRows current, DType current_dtype, DType dtype,
                       std::optional<ConstTensorView> const& join_bias);
  /// `in` where it is of `dtype`, else converted in scratch memory.
  ConstRows as_dtype(ConstRows in, DType in_dtype, DType dtype, StreamView stream);
  /// Rows of `dtype`, joined over the TP ranks of an expert and present on each of them.
  ConstRows expert_results(StepContext const& context, CombineRecipe const& recipe, ConstRows in, DType in_dtype,
                           DType dtype, std::optional<ConstTensorView> const& join_bias);

  /// Parts of expert rows, joined over the TP ranks of their experts, each of which adds a share of them. @param plan
  /// whose ranks do so
  ConstRows join_parts(MoveCall const& call, DispatchPlan const& plan, ConstRows in, DType in_dtype, DType dtype,
                       TreeBias const& bias);

  /// The weights of `terms` as floats or doubles. @param watch_nan whether a NaN among them is an error
  void const* weights_of(StepContext const& context, DeviceTerms const& terms, void const* weights, bool f64,
                         bool as_f64, bool watch_nan);

  void sum_at_source(StepContext const& context, CombineRecipe const& recipe, ConstRows rows, DType dtype,
                     CombineInputs const& inputs, void* out);
  /// rank_partial of single rows: the ranks' sums are made, and rounded as if for the wire, at the source.
  void sum_ranks_at_source(StepContext const& context, CombineRecipe const& recipe, ConstRows rows, DType dtype,
                           CombineInputs const& inputs, void* out);
  void sum_over_ranks(StepContext const& context, CombineRecipe const& recipe, ConstRows expert_rows, DType in_dtype,
                      DType dtype, CombineInputs const& inputs, void* out);
  /// Of a combine over slots of fixed size.
  struct SlotCall {
    StreamView stream;
    std::optional<Duration> deadline;
    bool sends_weights;  ///< even where the dispatch brought weights along
  };
  /// A NaN weight of a row is an error: see check().
  void watch_slot_weights(BudgetPlan const& plan, ConstTensorView const& weights, StreamView stream);
  /// Parts of expert rows to whole rows of `dtype` on every TP rank.
  ConstRows join_slots(BudgetStep const& step, ConstTensorView const& rows, DType dtype,
                       std::optional<ConstTensorView> const& join_bias);
  void combine_slots(BudgetPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
                     CombineInputs const& inputs, TensorView out, SlotCall const& call);
  /// The expansion's weights, after they travelled with the rows.
  void const* carried_weights(StepContext const& context, CombineInputs const& inputs, bool as_f64);

  DeviceCommunicator& comm;
  DeviceScratch alternating[2];
  int turn = 0;
  DeviceScratch term_weights;
  DeviceScratch own_weights;
  DeviceScratch joined;
  DeviceScratch results;
  DeviceScratch partials;
  DeviceScratch returned;
  DeviceScratch arrived;
  DeviceScratch landed;
  Stream beside;
  Event forked;
  Event passed;
  DeviceBuffer first_nan;
  PinnedBuffer first_nan_host;
  std::int64_t last_columns = 1;
  std::vector<DeviceSend> sends;
  std::vector<DeviceReceive> receives;
};

}  // namespace switchyard::cuda
