// SPDX-License-Identifier: Apache-2.0
/// CudaPrepare: every prepare/finalize pair of this backend. The kind says how rows travel; checks, weights on the
/// input, quantisation, formats and the order of the calls are shared.
#pragma once

#include <utility>

#include "cuda_error.hpp"
#include "device_lists.hpp"
#include "prepare_batch.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"
#include "switchyard/experts/workspace.hpp"
#include "switchyard/internal/prepare_pair.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

inline std::optional<QuantSpec> wire_quant(PrepareTraits const& traits) {
  return traits.quantize == QuantizeWhen::before_exchange ? traits.quant : std::nullopt;
}

/// Zeros; `bytes` may be 0.
inline void clear(void* data, std::int64_t bytes, StreamView stream) {
  if (bytes > 0) SWITCHYARD_CUDA_TRY(cudaMemsetAsync(data, 0, to_size(bytes), stream.handle()));
}

class CudaPrepare final : public PrepareFinalize {
 public:
  CudaPrepare(PrepareKind kind, PrepareGroup const& group, ExpertPlacement const& placement,
              PrepareOptions const& options, LayerStreams streams)
      : kind_(kind),
        host_(group.host),
        placement_(placement),
        options_(options),
        stream_(streams.rows),
        experts_stream_(streams.experts),
        traits_(prepare_traits(kind, options)),
        shape_(internal::prepare_shape(kind, group.host.rank(), placement, options)),
        packets_(internal::packet_sizes(options.hidden, options.dtype, wire_quant(traits_))),
        expert_map_(
            internal::local_expert_map(placement, options.layer, RankId{options.grid.ep_rank_of(group.host.rank())})),
        executor_(group.device) {}

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

 private:
  /// What one batch keeps from prepare to finalize.
  struct Memory {
    std::span<std::byte> arrival;  ///< packets in the standard format; the prepared rows themselves when plain
    std::span<std::byte> rows;     ///< batched plain rows
    std::span<std::byte> codes;
    std::span<std::byte> scales;
    std::span<std::byte> standard_codes;  ///< made after the exchange: where `codes` are, or batched, beside them
    std::span<std::byte> standard_scales;
  };
  [[nodiscard]] bool local() const noexcept { return internal::is_local(kind_); }
  [[nodiscard]] bool batched() const noexcept { return traits_.output_format == RowFormat::batched; }
  [[nodiscard]] TensorView rows_view(void* data, DType dtype, std::int64_t rows) const {
    return {data, dtype, {rows, shape_.hidden}, MemorySpace::device};
  }
  [[nodiscard]] TensorView carrier(void* data, std::int64_t rows) const {
    return {data, traits_.dtype, {rows, packets_.row_bytes / size_of(traits_.dtype)}, MemorySpace::device};
  }
  [[nodiscard]] Memory take_memory(Workspace& arena, CudaBatch const& batch) const;
  void weigh_tokens(CudaBatch& batch);
  void make_packets(CudaBatch& batch, std::optional<float> a1_scale);
  void make_plan(CudaBatch& batch);
  void receive(CudaBatch& batch, Memory const& memory);
  void quantize_arrival(CudaBatch const& batch, Memory const& memory) const;
  void copy_codes(CudaBatch const& batch, Memory const& memory) const;
  [[nodiscard]] QuantizedView place_codes(CudaBatch const& batch, Memory const& memory) const;
  [[nodiscard]] ConstTensorView standard_rows(CudaBatch& batch, ConstTensorView const& rows) const;
  [[nodiscard]] CombineInputs combine_inputs(CudaBatch const& batch, FinalizeInputs const& inputs) const;
  void sum_locally(CudaBatch const& batch, ConstTensorView const& rows, DeviceBuffer const& weights) const;
  /// @param inputs with expert_rows in the standard format
  void finalize_gradients(CudaBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                          TensorView const& d_rows, std::span<float> d_weights);
  void drop_gradients(CudaBatch const& batch, std::span<float> d_weights) const;
  void wait_and_check();
  /// Work issued to `to` from now on sees what `from` holds.
  void hand_over(StreamView from, StreamView to);

  PrepareKind kind_;
  Communicator& host_;
  ExpertPlacement const& placement_;
  PrepareOptions options_;
  StreamView stream_;  ///< on which rows travel
  StreamView experts_stream_;
  Event handed_{};
  PrepareTraits traits_;
  PrepareShape shape_;
  internal::PacketSizes packets_;
  std::vector<std::int32_t> expert_map_;
  CudaExecutor executor_;
};

}  // namespace switchyard::cuda
