// SPDX-License-Identifier: Apache-2.0
// Rows of the fused path: stores into peers' windows beside the expansion of own rows, and the expansion of what came.
#include "cuda_error.hpp"
#include "fused_window.cuh"
#include "grid_stride.cuh"
#include "row_words.cuh"

namespace switchyard::cuda {

namespace {

/// Blocks that store over the links: enough to fill them, few enough to leave memory bandwidth to the own rows.
constexpr unsigned kStoringBlocks = 128;
constexpr unsigned kExpandingBlocks = 264;

__device__ void store_row(FusedStoreParams const& params, std::int64_t i) {
  FusedWindows const& windows = params.windows;
  std::byte* const slot = slots_of(windows, windows.peers[params.sent_to[i]], writing(windows)) +
                          static_cast<std::int64_t>(params.sent_slot[i]) * windows.slot_bytes;
  std::int64_t const token = params.sent_token[i];
  std::int64_t const words = params.row_bytes / static_cast<std::int64_t>(sizeof(uint4));
  auto const* const from = static_cast<uint4 const*>(params.tokens) + token * words;
  auto* const to = reinterpret_cast<uint4*>(slot);
  for (std::int64_t first = threadIdx.x; first < words;
       first += static_cast<std::int64_t>(kWordsInFlight) * blockDim.x) {
    uint4 held[kWordsInFlight] = {};
#pragma unroll
    for (unsigned w = 0; w < kWordsInFlight; ++w)
      if (first + w * blockDim.x < words) held[w] = __ldg(from + first + w * blockDim.x);
#pragma unroll
    for (unsigned w = 0; w < kWordsInFlight; ++w)
      if (first + w * blockDim.x < words) to[first + w * blockDim.x] = held[w];
  }
  auto* const weights = reinterpret_cast<float*>(slot + windows.weights_offset);
  for (std::int64_t column = threadIdx.x; column < params.columns; column += blockDim.x)
    weights[column] = params.weights[token * params.columns + column];
}

__global__ void fused_store_kernel(FusedStoreParams params, unsigned storing_blocks) {
  if (blockIdx.x < storing_blocks) {
    std::int64_t const stride = static_cast<std::int64_t>(storing_blocks) * blockDim.y;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; i < params.num_sent;
         i += stride)
      store_row(params, i);
    return;
  }
  std::int64_t const words = params.row_bytes / static_cast<std::int64_t>(sizeof(uint4));
  std::int64_t const stride = static_cast<std::int64_t>(gridDim.x - storing_blocks) * blockDim.y;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x - storing_blocks) * blockDim.y + threadIdx.y;
       i < params.num_own; i += stride) {
    auto const* const from = static_cast<uint4 const*>(params.tokens) + params.own_token[i] * words;
    copy_to_places(from, words, params.places + params.own_begin[i], params.own_begin[i + 1] - params.own_begin[i],
                   static_cast<uint4*>(params.output));
  }
}

__device__ void expand_rows(FusedExpandParams const& params, unsigned blocks) {
  FusedWindows const& windows = params.windows;
  bool const failed = has_failed(windows);
  std::byte const* const slots = slots_of(windows, windows.own, reading(windows));
  std::int64_t const words = params.row_bytes / static_cast<std::int64_t>(sizeof(uint4));
  std::int64_t const stride = static_cast<std::int64_t>(blocks) * blockDim.y;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < params.num_received;
       row += stride) {
    std::int64_t const slot = params.slots[row];
    if (slot < 0 && !failed) continue;
    auto const* const from = failed ? nullptr : reinterpret_cast<uint4 const*>(slots + slot * windows.slot_bytes);
    copy_to_places(from, words, params.places + params.begin[row], params.begin[row + 1] - params.begin[row],
                   static_cast<uint4*>(params.output));
  }
}

__device__ void take_weights(FusedWeightsParams const& params, std::int64_t first, std::int64_t stride) {
  FusedWindows const& windows = params.windows;
  std::byte const* const slots = slots_of(windows, windows.own, reading(windows)) + windows.weights_offset;
  for (std::int64_t i = first; i < params.count; i += stride) {
    std::int64_t const own = params.own_index[i];
    if (own >= 0) {
      params.output[i] = params.own[own];
    } else {
      params.output[i] =
          reinterpret_cast<float const*>(slots + params.slots[i] * windows.slot_bytes)[params.columns[i]];
    }
  }
}

/// The first blocks expand rows, those behind them take the weights.
__global__ void fused_expand_kernel(FusedExpandParams rows, FusedWeightsParams weights, unsigned row_blocks) {
  if (blockIdx.x < row_blocks) return expand_rows(rows, row_blocks);
  std::int64_t const threads = static_cast<std::int64_t>(blockDim.x) * blockDim.y;
  std::int64_t const thread = static_cast<std::int64_t>(threadIdx.y) * blockDim.x + threadIdx.x;
  take_weights(weights, (blockIdx.x - row_blocks) * threads + thread, (gridDim.x - row_blocks) * threads);
}

}  // namespace

void load_fused_rows() {
  cudaFuncAttributes attributes{};
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, reinterpret_cast<void const*>(&fused_store_kernel)));
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, reinterpret_cast<void const*>(&fused_expand_kernel)));
}

void launch_fused_store(FusedStoreParams const& params, StreamView stream) {
  if (params.num_sent + params.num_own <= 0) return;
  dim3 const block = block_of_rows(params.row_bytes / static_cast<std::int64_t>(sizeof(uint4)));
  auto const at_most = [&](std::int64_t rows, unsigned limit) {
    unsigned const blocks = blocks_of_rows(rows, block);
    return blocks < limit ? blocks : limit;
  };
  unsigned const storing = at_most(params.num_sent, kStoringBlocks);
  fused_store_kernel<<<storing + at_most(params.num_own, kExpandingBlocks), block, 0, stream.handle()>>>(params,
                                                                                                         storing);
  check_launch("fused_store_kernel");
}

void launch_fused_expand(FusedExpandParams const& rows, FusedWeightsParams const& weights, StreamView stream) {
  constexpr std::int64_t kMaxWeightBlocks = 64;
  dim3 const block = block_of_rows(rows.row_bytes / static_cast<std::int64_t>(sizeof(uint4)));
  std::int64_t const threads = static_cast<std::int64_t>(block.x) * block.y;
  std::int64_t const wanted = (weights.count + threads - 1) / threads;
  unsigned const row_blocks = rows.num_received > 0 ? blocks_of_rows(rows.num_received, block) : 0;
  unsigned const blocks = row_blocks + static_cast<unsigned>(wanted < kMaxWeightBlocks ? wanted : kMaxWeightBlocks);
  if (blocks == 0) return;
  fused_expand_kernel<<<blocks, block, 0, stream.handle()>>>(rows, weights, row_blocks);
  check_launch("fused_expand_kernel");
}

}  // namespace switchyard::cuda
