// SPDX-License-Identifier: Apache-2.0
// The backward of the prepare/finalize pairs: gradients of expert rows, of router weights and of tokens.
#include "cuda_prepare.hpp"
#include "expert_tables.hpp"
#include "nvtx_range.hpp"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

using Step = CudaBatch::Step;

void CudaPrepare::finalize_gradients(CudaBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                                     TensorView const& d_rows, std::span<float> d_weights) {
  ConstTensorView const& rows = inputs.expert_rows;
  if (!local()) {
    TensorView const gradients(d_weights.data(), DType::f32, {batch.routing->num_tokens(), batch.routing->top_k()},
                               MemorySpace::device);
    return executor_.combine_backward(*batch.device_plan, d_output, rows, combine_inputs(batch, inputs), d_rows,
                                      gradients, stream_);
  }
  SourceRowsParams const source{batch.terms.rows.as<std::int64_t const>(),
                                batch.terms.tokens.as<std::int64_t const>(),
                                batch.terms.flats.as<std::int64_t const>(),
                                batch.terms.count,
                                shape_.hidden,
                                traits_.dtype};
  clear(d_weights.data(), static_cast<std::int64_t>(d_weights.size_bytes()), stream_);
  launch_dot_rows(source, d_output.data(), rows.data(), d_weights.data(), stream_);
  launch_weigh_rows(source, d_output.data(), batch.terms.weights.as<float const>(), d_rows.data(), stream_);
}

void CudaPrepare::finalize_backward(PreparedBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                                    TensorView const& d_expert_rows, std::span<float> d_weights) {
  CudaBatch& own = internal::batch_as<CudaBatch>(batch);
  internal::require_finalize_backward(*this, own, inputs, d_output, d_expert_rows, d_weights, MemorySpace::device);
  own.advance(this, Step::done, Step::weighed);
  FinalizeInputs const standard_inputs{standard_rows(own, inputs.expert_rows), inputs.join_bias};
  ConstTensorView const gradient =
      rows_view(const_cast<void*>(d_output.data()), traits_.dtype, own.routing->num_tokens());
  std::int64_t const row_bytes = shape_.hidden * size_of(traits_.dtype);
  DeviceBuffer const standard(batched() ? checked_mul(own.arrival_rows, row_bytes) : 0);
  void* const to = batched() ? standard.data() : d_expert_rows.data();
  finalize_gradients(own, standard_inputs, gradient, rows_view(to, traits_.dtype, own.arrival_rows), d_weights);
  if (own.weighted_input) clear(d_weights.data(), static_cast<std::int64_t>(d_weights.size_bytes()), stream_);
  if (batched())
    copy_row_blocks({to, row_bytes}, own.arrival_blocks, {d_expert_rows.data(), row_bytes}, own.blocks(), row_bytes,
                    stream_);
  stream_.synchronize();  // `standard` goes
}

void CudaPrepare::start_prepare_backward(PreparedBatch& batch, ConstTensorView const& d_rows,
                                         TensorView const& d_tokens) {
  NvtxRange const range("start prepare backward");
  CudaBatch& own = internal::batch_as<CudaBatch>(batch);
  require_device_matrix(d_rows, "d_rows", own.num_rows(), shape_.hidden);
  require_device_matrix(d_tokens, "d_tokens", own.routing->num_tokens(), shape_.hidden);
  own.advance(this, Step::weighed, Step::returning);
  hand_over(experts_stream_, stream_);
  own.output = rows_view(d_tokens.data(), traits_.dtype, own.routing->num_tokens());
  ConstTensorView const rows = standard_rows(own, d_rows);
  if (local()) return sum_locally(own, rows, own.terms.ones);
  executor_.dispatch_backward(*own.device_plan, options_.gradient_recipe, rows, own.output, stream_);
}

/// Zeros for dropped tokens, whatever they and their weights hold, a NaN for instance.
void CudaPrepare::drop_gradients(CudaBatch const& batch, std::span<float> d_weights) const {
  auto const ids = batch.routing->ids();
  std::int64_t const row_bytes = shape_.hidden * size_of(traits_.dtype);
  for (std::size_t token = 0; token < ids.size(); ++token) {
    if (ids[token] >= 0) continue;
    clear(d_weights.data() + token, sizeof(float), stream_);
    clear(static_cast<std::byte*>(batch.output.data()) + static_cast<std::int64_t>(token) * row_bytes, row_bytes,
          stream_);
  }
}

void CudaPrepare::finish_prepare_backward(PreparedBatch& batch, std::span<float> d_weights) {
  NvtxRange const range("finish prepare backward");
  CudaBatch& own = internal::batch_as<CudaBatch>(batch);
  own.advance(this, Step::returning, Step::returned);
  if (own.weighted_input) {
    TensorShape const shape{own.routing->num_tokens()};
    ConstTensorView const weights(own.weights.data(), DType::f32, shape, MemorySpace::device);
    TensorView const gradients(d_weights.data(), DType::f32, shape, MemorySpace::device);
    router_weight_backward(own.tokens, weights, own.output, own.output, gradients, stream_);
    drop_gradients(own, d_weights);
  }
  wait_and_check();
}

}  // namespace switchyard::cuda
