// SPDX-License-Identifier: Apache-2.0
// Dispatch of the fused path: a token is read once, stored to the slots of its destination ranks and to its places on
// this rank; a row that came is read from its slot and stored to its places.
#include "cuda_error.hpp"
#include "fused_dispatch_few.cuh"
#include "fused_duplex.cuh"
#include "fused_grid.cuh"
#include "row_words.cuh"

namespace switchyard::cuda {

namespace {

class DispatchWork {
 public:
  __device__ explicit DispatchWork(FusedDispatchParams const& params)
      : params_(params),
        words_(params.row_bytes / static_cast<std::int64_t>(sizeof(uint4))),
        num_remote_(count_of(params.remote)) {}

  [[nodiscard]] __device__ std::int64_t num_produce() const { return params_.num_tokens; }
  [[nodiscard]] __device__ std::int64_t num_consume() const { return num_remote_; }
  __device__ std::int32_t const* slots(std::int64_t i, std::int64_t& count) const {
    count = 1;
    return params_.remote.slot + i;
  }

  __device__ void produce(std::int64_t token, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    std::int32_t const sent = params_.sent_begin[token];
    std::int32_t const sent_end = params_.sent_begin[token + 1];
    FusedTerms const own = params_.own_terms[token];
    auto const* const from = static_cast<uint4 const*>(params_.tokens) + token * words_;
    for (std::int64_t first = threadIdx.x; first < words_;
         first += static_cast<std::int64_t>(kWordsInFlight) * blockDim.x) {
      uint4 held[kWordsInFlight] = {};
      load_words(from, first, held);
      for (std::int32_t k = sent; k < sent_end; ++k) store_words(held, first, sent_row(k, generation));
      for (std::int64_t i = own.begin; i < own.end; ++i) stream_words(held, first, place_of(i));
    }
    float const* const weights = params_.weights + token * params_.columns;
    for (std::int32_t k = sent; k < sent_end; ++k) {
      auto* const there = reinterpret_cast<float*>(slot_there(k, generation) + windows.weights_offset);
      for (std::int64_t column = threadIdx.x; column < params_.columns; column += blockDim.x)
        there[column] = weights[column];
    }
    take_weights(weights, own.begin, own.end);
  }

  __device__ void release(std::int64_t token, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    for (std::int32_t k = params_.sent_begin[token]; k < params_.sent_begin[token + 1]; ++k)
      store_release(tag_of(windows, windows.peers[params_.sent_to[k]], generation, params_.sent_slot[k]), generation);
  }

  __device__ void consume(std::int64_t i, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    std::byte const* const slot = slot_of(windows, windows.own, generation, params_.remote.slot[i]);
    FusedTerms const terms = params_.remote.terms[i];
    copy_to_places(reinterpret_cast<uint4 const*>(slot), words_, params_.places + terms.begin, terms.end - terms.begin,
                   static_cast<uint4*>(params_.output));
    take_weights(reinterpret_cast<float const*>(slot + windows.weights_offset), terms.begin, terms.end);
  }

  __device__ void clear() const { clear_dispatched(params_); }

 private:
  __device__ std::byte* slot_there(std::int32_t k, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    return slot_of(windows, windows.peers[params_.sent_to[k]], generation, params_.sent_slot[k]);
  }
  __device__ uint4* sent_row(std::int32_t k, std::uint64_t generation) const {
    return reinterpret_cast<uint4*>(slot_there(k, generation));
  }
  __device__ uint4* place_of(std::int64_t i) const {
    return static_cast<uint4*>(params_.output) + static_cast<std::int64_t>(params_.places[i]) * words_;
  }

  __device__ void load_words(uint4 const* from, std::int64_t first, uint4* held) const {
#pragma unroll
    for (unsigned w = 0; w < kWordsInFlight; ++w)
      if (first + w * blockDim.x < words_) held[w] = __ldcs(from + first + w * blockDim.x);
  }
  __device__ void store_words(uint4 const* held, std::int64_t first, uint4* to) const {
#pragma unroll
    for (unsigned w = 0; w < kWordsInFlight; ++w)
      if (first + w * blockDim.x < words_) to[first + w * blockDim.x] = held[w];
  }
  __device__ void stream_words(uint4 const* held, std::int64_t first, uint4* to) const {
#pragma unroll
    for (unsigned w = 0; w < kWordsInFlight; ++w)
      if (first + w * blockDim.x < words_) __stcs(to + first + w * blockDim.x, held[w]);
  }

  /// Weights of the terms of one row, from its token's.
  __device__ void take_weights(float const* of_token, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
      params_.term_weights[i] = of_token[params_.term_column[i]];
  }

  FusedDispatchParams const& params_;
  std::int64_t words_;
  std::int64_t num_remote_;
};

__global__ void __launch_bounds__(kBlockThreads) fused_dispatch_kernel(FusedDispatchParams const params) {
  await_kernel_before();
  let_next_kernel_come();
  run_duplex(params.call, DispatchWork(params));
}
__global__ void __launch_bounds__(kFewThreads) fused_dispatch_few_kernel(FusedDispatchParams const params) {
  __shared__ FewShared shared;
  await_kernel_before();
  let_next_kernel_come();
  FewDispatch work(params, shared);
  FewRows<FewDispatch>(params.call, work, shared).run();
}

}  // namespace

void load_fused_dispatch() {
  load_kernel(reinterpret_cast<void const*>(&fused_dispatch_kernel));
  load_kernel(reinterpret_cast<void const*>(&fused_dispatch_few_kernel));
}

void launch_fused_dispatch(FusedDispatchParams const& params, StreamView stream) {
  std::int64_t const words = params.row_bytes / static_cast<std::int64_t>(sizeof(uint4));
  launch_duplex("fused_dispatch_kernel", &fused_dispatch_kernel, &fused_dispatch_few_kernel, params,
                {words, params.num_tokens, params.remote.count}, stream);
}

}  // namespace switchyard::cuda
