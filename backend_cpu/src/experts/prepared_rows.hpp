// SPDX-License-Identifier: Apache-2.0
/// CpuPrepare: what every prepare/finalize pair of this backend shares: checks, weights on the input, quantisation,
/// formats and the order of the calls. How rows travel is the derived class'.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "row_packets.hpp"
#include "switchyard/cpu/prepare_finalize.hpp"
#include "switchyard/experts/workspace.hpp"
#include "switchyard/internal/pair_batch.hpp"

namespace switchyard::cpu {

class CpuBatch final : public internal::PairBatch {
 public:
  [[nodiscard]] DispatchPlan const* plan() const noexcept override { return plan_ ? &*plan_ : nullptr; }

  std::vector<std::byte> sent_bytes{};  ///< packets or weighted tokens; empty when the caller's tokens are sent
  std::optional<DispatchPlan> plan_{};  ///< pairs with communication
  std::vector<std::byte> travelling{};  ///< rows of a batched format, in the standard one, while they are in flight
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
  [[nodiscard]] QuantizedView place_codes(CpuBatch const& batch, Memory const& memory) const;
  [[nodiscard]] ConstTensorView standard_rows(CpuBatch& batch, ConstTensorView const& rows) const;
  void input_weights_backward(CpuBatch const& batch, std::span<float> d_weights) const;

  PrepareTraits traits_;
  PrepareShape shape_;
  RowPackets packets_;
};

}  // namespace switchyard::cpu
