// SPDX-License-Identifier: Apache-2.0
/// PrepareFinalize: the interface of a way to bring a rank's tokens to the experts' ranks and their results back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/experts/compatibility.hpp"
#include "switchyard/experts/experts.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard {

/// One rank's micro-batch. Nothing of it is changed; it stays untouched until the batch is finalised.
struct PrepareInputs {
  ConstTensorView tokens{};             ///< [T, H] of the row dtype, host memory, contiguous
  RoutingMap const* routing = nullptr;  ///< T tokens, top-k form, logical experts
  bool router_weight_on_input = false;  ///< top-1 only: tokens are multiplied with their weight (rounded to the row
                                        ///< dtype) before they are quantised and sent; finalize multiplies no more
  std::optional<float> a1_scale{};      ///< replaces the given scale of a pair that quantises by fp8_tensor
};

/// What experts read. Rows behind the count of a batched block are undefined.
struct PreparedRows {
  TensorView rows{};                     ///< [num_rows, H] of the row dtype; no data when quantised
  std::optional<QuantizedView> codes{};  ///< num_rows x H
};

/// What experts made of the prepared rows.
struct FinalizeInputs {
  ConstTensorView expert_rows{};  ///< [num_rows, H] unweighted, of the row dtype, or with TP this rank's f32 partial
  /// [local experts, H] f32, bf16 or f16: the second bias, which TP ranks leave out of their partials. Added once, in
  /// fp32, to the joined sum of a row before that is rounded. A view without extents:
  /// none, on all ranks alike. TP size 1 has it in expert_rows already.
  ConstTensorView join_bias{};
};

/// A micro-batch on its way, between start_prepare() and finish_finalize(), and on to the end of its backward.
/// Destroyed early, its group is aborted if rows are in flight.
class PreparedBatch {
 public:
  virtual ~PreparedBatch() = default;
  PreparedBatch(PreparedBatch const&) = delete;
  PreparedBatch& operator=(PreparedBatch const&) = delete;

  /// [local experts] in the pair's output format; known as soon as prepare has started.
  [[nodiscard]] std::span<RowBlock const> blocks() const noexcept { return blocks_; }
  /// Rows of the prepared matrix, the undefined ones of a batched format included.
  [[nodiscard]] std::int64_t num_rows() const noexcept { return num_rows_; }
  /// Bytes of one row on its way to the experts: codes and scales when it is quantised before.
  [[nodiscard]] std::int64_t wire_row_bytes() const noexcept { return wire_row_bytes_; }
  /// The plan that is carried out; null for a pair without communication.
  [[nodiscard]] virtual DispatchPlan const* plan() const noexcept = 0;

 protected:
  PreparedBatch() = default;
  std::vector<RowBlock> blocks_;
  std::int64_t num_rows_ = 0;
  std::int64_t wire_row_bytes_ = 0;
};

/// What a pair asks of the model around it.
struct PrepareShape {
  std::int64_t hidden = 0;
  int num_experts = 0;  ///< logical experts that routings may name
  int num_local_experts = 0;
  TpSlice tp{};
  DType topk_index_dtype = DType::i32;                ///< what routings hold
  std::optional<std::int64_t> max_tokens_per_rank{};  ///< a rank with more is refused; nothing = no limit
  int num_dispatchers = 1;                            ///< ranks that send rows here
};

/// One object per rank and configuration. All calls but the bytes are collective over the pair's ranks, in the same
/// order on each. Several batches may be under way, but at most one between two halves: its rows are in flight there,
/// and the ranks' communicator is busy. Not to be used by two threads at once.
class PrepareFinalize {
 public:
  virtual ~PrepareFinalize() = default;
  PrepareFinalize() = default;
  PrepareFinalize(PrepareFinalize const&) = delete;
  PrepareFinalize& operator=(PrepareFinalize const&) = delete;

  [[nodiscard]] virtual PrepareTraits const& traits() const noexcept = 0;
  [[nodiscard]] virtual PrepareShape const& shape() const noexcept = 0;

  /// Plans, weights and quantises what must be so before the exchange, and lets rows travel.
  /// @throws Error{shape_mismatch} and Error{invalid_argument} for tokens or a routing that do not fit shape(), what
  /// the planner throws.
  [[nodiscard]] virtual std::unique_ptr<PreparedBatch> start_prepare(PrepareInputs const& inputs) = 0;
  /// Bytes of memory that finish_prepare() needs for this batch.
  [[nodiscard]] virtual std::int64_t prepared_bytes(PreparedBatch const& batch) const = 0;
  /// Waits for the rows, and quantises them if that comes after the exchange.
  /// @param memory starts at a multiple of 64 bytes; holds the rows, until finish_finalize()
  /// @throws Error{invalid_argument} for a batch of another object or in another state, Error{out_of_memory} for too
  /// little memory.
  [[nodiscard]] virtual PreparedRows finish_prepare(PreparedBatch& batch, std::span<std::byte> memory) = 0;

  /// Lets the experts' results travel.
  /// @param output [T, H] of the row dtype; may be the caller's tokens. All stay untouched until finish_finalize().
  /// @throws Error{shape_mismatch} for other sizes; Error{invalid_argument} for a bias at TP size 1, Error{unsupported}
  /// for one with a recipe that joins no TP partials.
  virtual void start_finalize(PreparedBatch& batch, FinalizeInputs const& inputs, TensorView const& output) = 0;
  /// Weights, reduces and writes `output` completely; a token without experts becomes +0. Ranks without rows take part.
  virtual void finish_finalize(PreparedBatch& batch) = 0;

  /// The gradients of finalize, after it: of every expert row and, unless the weights were applied to the input, of the
  /// router weights. docs/determinism/backward.md names their orders.
  /// @param inputs as in start_finalize(). @param d_output [T, H] of the row dtype
  /// @param d_expert_rows [num_rows, H] of the row dtype, the same on all TP ranks; may be the memory of expert_rows at
  /// TP size 1; rows outside all blocks are undefined
  /// @param d_weights [T * top_k]; +0 for a pair without a row; all +0 with weights on the input
  /// @throws Error{unsupported} for a pair that quantises.
  virtual void finalize_backward(PreparedBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                                 TensorView const& d_expert_rows, std::span<float> d_weights) = 0;
  /// The gradient of prepare, after finalize_backward(): brings row gradients back to their tokens.
  /// @param d_rows [num_rows, H] of the row dtype, or with TP this rank's f32 partial
  /// @param d_tokens [T, H] of the row dtype; a token without rows gets +0. All stay untouched until the second half.
  virtual void start_prepare_backward(PreparedBatch& batch, ConstTensorView const& d_rows,
                                      TensorView const& d_tokens) = 0;
  /// Sums. @param d_weights [T * top_k] gradients of weights on the input, for which the caller's tokens are read
  /// again; left alone otherwise
  virtual void finish_prepare_backward(PreparedBatch& batch, std::span<float> d_weights) = 0;
};

}  // namespace switchyard
