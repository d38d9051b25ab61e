// SPDX-License-Identifier: Apache-2.0
/// How a warp comes to the row of a token: its shared memory, and logits read and checked on the way there.
#pragma once

#include <cstdint>

#include "cuda_error.hpp"
#include "router_kernels.hpp"
#include "router_warp.cuh"

namespace switchyard::cuda {

inline constexpr unsigned kWarpThreads = 32;
inline constexpr unsigned kRouterThreads = 256;  ///< of a block at most

/// The warps of a kernel take tokens in turns.
__device__ inline std::int64_t first_token() {
  return static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / kWarpThreads) + threadIdx.x / kWarpThreads;
}
__device__ inline std::int64_t token_stride() {
  return static_cast<std::int64_t>(gridDim.x) * (blockDim.x / kWarpThreads);
}

__device__ inline void raise_router_fault(unsigned long long* word, RouterFault kind, std::uint64_t detail) {
  if (threadIdx.x % kWarpThreads == 0)
    atomicMin(word, static_cast<unsigned long long>(kind) << kRouterFaultShift | detail);
}

/// The smallest code that code_of(i) gives for any i below `count`; kNoCode where none is at fault.
inline constexpr std::uint32_t kNoCode = 0xffffffffU;
template <typename CodeOf>
__device__ std::uint32_t smallest_code(std::int32_t count, CodeOf const& code_of) {
  std::uint32_t code = kNoCode;
  for (auto i = static_cast<std::int32_t>(threadIdx.x % kWarpThreads); i < count;
       i += static_cast<std::int32_t>(kWarpThreads))
    code = min(code, code_of(i));
  return __reduce_min_sync(0xffffffffU, code);
}

/// A logit as the router computes with it. @return its fault's code, or kNoCode
__device__ inline std::uint32_t take_logit(hd::LogitRules const& rules, float logit, std::int32_t expert, float* row) {
  float const value = hd::round_through(rules.round_to, logit);
  row[expert] = hd::usable_logit(value);
  hd::LogitFault const fault = hd::logit_fault(rules, value);
  if (fault == hd::LogitFault::none) return kNoCode;
  return static_cast<std::uint32_t>(expert) * 2 + (fault == hd::LogitFault::infinity ? 1 : 0);
}

/// Reads a token's logits into `row`, rounded and free of NaN. @return whether none is at fault
template <typename T>
__device__ bool read_logits(RouterLogits const& logits, std::int32_t experts, std::int64_t token, float* row) {
  constexpr std::int32_t kInFlight = 8;
  T const* const from = static_cast<T const*>(logits.data) + token * experts;
  hd::LogitRules const rules = logits.rules;
  std::uint32_t code = kNoCode;
  for (auto first = static_cast<std::int32_t>(threadIdx.x % kWarpThreads); first < experts;
       first += kInFlight * static_cast<std::int32_t>(kWarpThreads)) {
    T loaded[kInFlight] = {};
#pragma unroll
    for (std::int32_t i = 0; i < kInFlight; ++i)
      if (std::int32_t const e = first + i * 32; e < experts) loaded[i] = from[e];
#pragma unroll
    for (std::int32_t i = 0; i < kInFlight; ++i)
      if (std::int32_t const e = first + i * 32; e < experts)
        code = min(code, take_logit(rules, hd::widen(loaded[i]), e, row));
  }
  code = __reduce_min_sync(0xffffffffU, code);
  __syncwarp();
  if (code == kNoCode) return true;
  raise_router_fault(logits.fault, RouterFault::logit, static_cast<std::uint64_t>(token) * experts * 2 + code);
  return false;
}

/// Warps per block: eight, or fewer where rows are long.
inline unsigned router_warps(std::int64_t warp_bytes) {
  constexpr std::int64_t kWanted = 64 * 1024;
  unsigned warps = kRouterThreads / kWarpThreads;
  while (warps > 1 && warps * warp_bytes > kWanted) warps /= 2;
  return warps;
}

/// Launches a kernel of a warp per token, whose warps have `warp_bytes` of shared memory each.
template <typename Params>
void launch_rows(char const* name, void (*kernel)(Params), Params const& params, std::int64_t warp_bytes,
                 StreamView stream) {
  if (params.logits.tokens <= 0) return;
  constexpr std::int64_t kMaxBlocks = 1 << 20;
  unsigned const warps = router_warps(warp_bytes);
  std::int64_t const blocks = (params.logits.tokens + warps - 1) / warps;
  kernel<<<static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks), warps * kWarpThreads,
           static_cast<std::size_t>(warps * warp_bytes), stream.handle()>>>(params);
  check_launch(name);
}

/// The warp's part of the block's shared memory.
__device__ inline float* warp_memory(std::int64_t warp_words) {
  extern __shared__ float router_memory[];
  return router_memory + (threadIdx.x / kWarpThreads) * warp_words;
}

/// Bytes that a block may have on the current device.
inline int shared_bytes_of_device() {
  int device = 0;
  int bytes = 0;
  SWITCHYARD_CUDA_TRY(cudaGetDevice(&device));
  SWITCHYARD_CUDA_TRY(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}
/// Loads a kernel and lets it have as much.
template <typename Params>
void allow_shared_memory(void (*kernel)(Params), int bytes) {
  SWITCHYARD_CUDA_TRY(
      cudaFuncSetAttribute(reinterpret_cast<void const*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
}

}  // namespace switchyard::cuda
