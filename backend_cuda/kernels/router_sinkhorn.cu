// SPDX-License-Identifier: Apache-2.0
// Sinkhorn: exponentials by a warp per token, then one block that alternates between the factors of tokens and those of
// experts until these stay as they are.
#include "dtype_switch.cuh"
#include "router_rows.cuh"
#include "router_sinkhorn_kernels.hpp"
#include "switchyard/hd/router_loss.hpp"

namespace switchyard::cuda {

namespace {

constexpr std::int32_t kLanes = hd::kSumLanes;

__global__ void sinkhorn_begin_kernel(SinkhornParams params) {
  *params.outcome = {0, params.logits.tokens == 0 ? SinkhornEnd::converged : SinkhornEnd::bound};
}

template <typename T>
__global__ void exponentials_kernel(SinkhornParams params) {
  float* const row = warp_memory(params.experts);
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += token_stride()) {
    std::int64_t const first = token * params.experts;
    bool is_good = read_logits<T>(params.logits, params.experts, token, row);
    if (is_good) {
      std::uint32_t const expert = smallest_code(params.experts, [=](std::int32_t e) {
        row[e] = hd::exp(row[e]);
        return hd::is_finite_f32(row[e]) ? kNoCode : static_cast<std::uint32_t>(e);
      });
      is_good = expert == kNoCode;
      if (!is_good)
        raise_router_fault(params.logits.fault, RouterFault::sinkhorn, static_cast<std::uint64_t>(first) + expert);
    }
    __syncwarp();
    WarpCrew{}.each(params.experts, [=](std::int64_t e) { params.balanced[first + e] = is_good ? row[e] : 0.0F; });
    if (!is_good && threadIdx.x % kWarpThreads == 0) params.outcome->end = SinkhornEnd::bad_logits;
  }
}

/// Factors of all tokens, a warp each.
__device__ void update_tokens(SinkhornParams const& params) {
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += kLanes) {
    hd::Products const products{params.of_expert, params.balanced + token * params.experts};
    float const factor = hd::sinkhorn_factor(WarpCrew{}.sum(params.experts, products), params.logits.tokens);
    if (threadIdx.x % kWarpThreads == 0) params.of_token[token] = factor;
  }
  __syncthreads();
}

/// Factors of all experts: of 32 at a time, thread x of warp y is lane y of the sum of expert x.
__device__ void update_experts(SinkhornParams const& params, float (*lanes_of)[kLanes]) {
  auto const x = static_cast<std::int32_t>(threadIdx.x) % kLanes;
  auto const y = static_cast<std::int32_t>(threadIdx.x) / kLanes;
  for (std::int32_t first = 0; first < params.experts; first += kLanes) {
    std::int32_t const expert = first + x;
    bool const is_expert = expert < params.experts;
    float sum = 0.0F;
    for (std::int64_t token = y; is_expert && token < params.logits.tokens; token += kLanes)
      sum = hd::mul_then_add(params.of_token[token], params.balanced[token * params.experts + expert], sum);
    lanes_of[y][x] = sum;
    __syncthreads();
    if (y == 0 && is_expert) {
      float lanes[kLanes];
      for (std::int32_t lane = 0; lane < kLanes; ++lane) lanes[lane] = lanes_of[lane][x];
      float const updated = hd::sinkhorn_factor(hd::lane32_join(lanes), params.experts);
      params.change[expert] = fabsf(hd::sub_rn(params.of_expert[expert], updated));
      params.of_expert[expert] = updated;
    }
    __syncthreads();
  }
}

/// Whether to stop after this iteration, decided by the first warp.
__device__ bool decide(SinkhornParams const& params, std::int32_t iteration, SinkhornEnd* end) {
  if (threadIdx.x < kWarpThreads) {
    float const total = WarpCrew{}.sum(params.experts, hd::Elements{params.change});
    float const change = hd::div_rn(total, static_cast<float>(params.experts));
    SinkhornEnd found = change <= params.tolerance ? SinkhornEnd::converged : SinkhornEnd::bound;
    if (!hd::is_finite_f32(change)) found = SinkhornEnd::overflow;
    if (threadIdx.x == 0) {
      *end = found;
      *params.outcome = {iteration, found};
    }
  }
  __syncthreads();
  return *end != SinkhornEnd::bound;
}

/// One block of 32 warps.
__global__ void sinkhorn_kernel(SinkhornParams params) {
  __shared__ float lanes_of[kLanes][kLanes];
  __shared__ SinkhornEnd end;
  bool const is_good = params.outcome->end == SinkhornEnd::bound;
  auto const thread = static_cast<std::int64_t>(threadIdx.x);
  auto const threads = static_cast<std::int64_t>(blockDim.x);
  for (std::int64_t e = thread; e < params.experts; e += threads) params.of_expert[e] = 1.0F;
  __syncthreads();
  for (std::int32_t iteration = 1; is_good && iteration <= params.max_iterations; ++iteration) {
    update_tokens(params);
    update_experts(params, lanes_of);
    bool const stops = decide(params, iteration, &end);
    __syncthreads();
    if (stops) break;
  }
  bool const is_result = is_good && end != SinkhornEnd::overflow;
  for (std::int64_t i = thread; i < params.logits.tokens * params.experts; i += threads)
    params.balanced[i] = is_result ? hd::sinkhorn_value(params.of_expert[i % params.experts], params.balanced[i],
                                                        params.of_token[i / params.experts])
                                   : 0.0F;
}

}  // namespace

std::int64_t prepare_sinkhorn_kernels() {
  int const bytes = shared_bytes_of_device();
  for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
    by_row_dtype(dtype, [&](auto row) { allow_shared_memory(&exponentials_kernel<decltype(row)>, bytes); });
  cudaFuncAttributes attributes{};
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, reinterpret_cast<void const*>(&sinkhorn_begin_kernel)));
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, reinterpret_cast<void const*>(&sinkhorn_kernel)));
  return bytes;
}

void launch_sinkhorn(SinkhornParams const& params, StreamView stream) {
  sinkhorn_begin_kernel<<<1, 1, 0, stream.handle()>>>(params);
  check_launch("sinkhorn_begin_kernel");
  if (params.logits.tokens <= 0) return;
  by_row_dtype(params.logits.dtype, [&](auto row) {
    launch_rows("exponentials_kernel", &exponentials_kernel<decltype(row)>, params,
                params.experts * static_cast<std::int64_t>(sizeof(float)), stream);
  });
  sinkhorn_kernel<<<1, kLanes * kLanes, 0, stream.handle()>>>(params);
  check_launch("sinkhorn_kernel");
}

}  // namespace switchyard::cuda
