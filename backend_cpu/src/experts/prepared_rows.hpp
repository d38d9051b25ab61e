// SPDX-License-Identifier: Apache-2.0
/// CpuPrepare: what every prepare/finalize pair of this backend shares: checks, weights on the input, quantisation,
/// formats and the order of the calls. How rows travel is the derived class'.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "row_packets.hpp"
#include "switchyard/cpu/prepare_finalize.hpp"
#include "switchyard/experts/row_formats.hpp"
#include "switchyard/experts/workspace.hpp"

namespace switchyard::cpu {

class CpuBatch final : public PreparedBatch {
 public:
  enum class Step : std::uint8_t { sent, prepared, finalizing, done, weighed, returning, returned };

  [[nodiscard]] DispatchPlan const* plan() const noexcept override { return plan_ ? &*plan_ : nullptr; }
  void set_blocks(std::vector<RowBlock> blocks, std::int64_t rows, std::int64_t wire_row_bytes) {
    blocks_ = std::move(blocks);
    num_rows_ = rows;
    wire_row_bytes_ = wire_row_bytes;
  }
  /// @throws Error{invalid_argument} unless the batch belongs to `owner` and stands at `wanted`.
  void require_step(PrepareFinalize const* owner, Step wanted) const;

  PrepareFinalize const* owner = nullptr;
  Step step = Step::sent;
  RoutingMap const* routing = nullptr;
  bool weighted_input = false;
  std::optional<QuantSpec> quant{};        ///< with this batch's a1_scale
  std::vector<std::byte> sent_bytes{};     ///< packets or weighted tokens; empty when the caller's tokens are sent
  ConstTensorView sent{};                  ///< [T, packet]
  std::optional<DispatchPlan> plan_{};     ///< pairs with communication
  RowGrouping grouping{};                  ///< pairs without
  std::vector<RowBlock> arrival_blocks{};  ///< rows in the standard format
  std::int64_t arrival_rows = 0;
  ConstTensorView tokens{};             ///< the caller's
  std::vector<std::byte> travelling{};  ///< rows of a batched format, in the standard one, while they are in flight
  TensorView output{};                  ///< from start_finalize() on, and again from start_prepare_backward() on
};

class CpuPrepare : public PrepareFinalize {
 public:
  CpuPrepare(PrepareTraits traits, PrepareShape shape);

  [[nodiscard]] PrepareTraits const& traits() const noexcept override { return traits_; }
  [[nodiscard]] PrepareShape const& shape() const noexcept override { return shape_; }
  [[nodiscard]] std::unique_ptr<PreparedBatch> start_prepare(PrepareInputs const& inputs) override;
  [[nodiscard]] std::int64_t prepared_bytes(PreparedBatch const& batch) const override;
  [[nodiscard]] PreparedRows finish_prepare(PreparedBatch& batch, std::span<std::byte> memory) override;
  void start_finalize(PreparedBatch& batch, FinalizeInputs const& inputs, TensorView const& output) override;
  void finish_finalize(PreparedBatch& batch) override;
  void finalize_backward(PreparedBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                         TensorView const& d_expert_rows, std::span<float> d_weights) override;
  void start_prepare_backward(PreparedBatch& batch, ConstTensorView const& d_rows, TensorView const& d_tokens) override;
  void finish_prepare_backward(PreparedBatch& batch, std::span<float> d_weights) override;

 protected:
  /// Fills plan_ or grouping, arrival_blocks and arrival_rows, and sends batch.sent.
  virtual void send(CpuBatch& batch) = 0;
  /// Writes every arriving row. @param arrival [arrival_rows, packet]
  virtual void receive(CpuBatch& batch, TensorView const& arrival) = 0;
  // Rows below are [arrival_rows, H] in the standard format. What starts is finished before the next call.

  /// Sums rows into batch.output.
  virtual void start_reduce(CpuBatch& batch, FinalizeInputs const& inputs) = 0;
  virtual void finish_reduce(CpuBatch& batch) = 0;
  virtual void reduce_backward(CpuBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                               TensorView const& d_rows, std::span<float> d_weights) = 0;
  /// Sums row gradients with weight 1 into batch.output.
  virtual void start_send_backward(CpuBatch& batch, ConstTensorView const& d_rows) = 0;
  virtual void finish_send_backward(CpuBatch& batch) = 0;

 private:
  struct Memory;
  [[nodiscard]] Memory take_memory(Workspace& arena, CpuBatch const& batch) const;
  void check_inputs(PrepareInputs const& inputs) const;
  void make_packets(CpuBatch& batch, PrepareInputs const& inputs) const;
  void set_format(CpuBatch& batch) const;
  [[nodiscard]] QuantizedView place_codes(CpuBatch const& batch, Memory const& memory) const;
  void check_results(CpuBatch const& batch, FinalizeInputs const& inputs) const;
  [[nodiscard]] ConstTensorView standard_rows(CpuBatch& batch, ConstTensorView const& rows) const;
  void input_weights_backward(CpuBatch const& batch, std::span<float> d_weights) const;

  PrepareTraits traits_;
  PrepareShape shape_;
  RowPackets packets_;
};

}  // namespace switchyard::cpu
