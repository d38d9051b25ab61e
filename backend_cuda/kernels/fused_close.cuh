// SPDX-License-Identifier: Apache-2.0
/// The end of an operation of the fused path.
#pragma once

#include "fused_agreement.cuh"

namespace switchyard::cuda {

/// The block that ends last closes the operation: nobody starts the next one before every peer has begun this one, so
/// that all have finished the one before, whose half of the windows the next overwrites.
/// @param has_agreed whether a block has compared the signals of all peers @param is_last in shared memory
template <typename Work>
__device__ void close_operation(FusedCall const& call, Work const& work, std::uint64_t generation, bool has_agreed,
                                bool& is_last) {
  FusedProgress& progress = *call.windows.progress;
  __threadfence();
  __syncthreads();
  if (thread_of_block() == 0) is_last = atomicAdd(&progress.finished, 1U) + 1 == gridDim.x;
  __syncthreads();
  if (!is_last) return;
  if (!has_agreed && !has_failed(call.windows)) await_signals(call, generation);
  __syncthreads();
  if (has_failed(call.windows)) {
    send_failure(call.windows);
    work.clear();
  }
  if (thread_of_block() != 0) return;
  progress.produced = 0;
  progress.consumed = 0;
  progress.finished = 0;
  progress.generation = generation + 1;
}

/// All threads of a block store zeros to `words` 16-byte words.
__device__ inline void store_zeros(void* to, std::int64_t words) {
  for (std::int64_t i = thread_of_block(); i < words; i += threads_of_block())
    static_cast<uint4*>(to)[i] = uint4{0, 0, 0, 0};
}

__device__ inline void clear_dispatched(FusedDispatchParams const& params) {
  store_zeros(params.output, params.num_places * (params.row_bytes / static_cast<std::int64_t>(sizeof(uint4))));
  for (std::int64_t i = thread_of_block(); i < params.num_places; i += threads_of_block())
    params.term_weights[i] = 0.0f;
}
/// @param packs of 16 bytes in a row
__device__ inline void clear_combined(FusedCombineParams const& params, std::int64_t packs) {
  store_zeros(params.output, params.num_tokens * packs);
}

}  // namespace switchyard::cuda
