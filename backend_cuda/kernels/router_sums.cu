// SPDX-License-Identifier: Apache-2.0
// What the losses sum over tokens: counts of choices, lane32 sums of scores per expert, and the loss from them; and the
// selection bias, which follows the counts.
#include "grid_stride.cuh"
#include "router_loss_kernels.hpp"
#include "router_rows.cuh"

namespace switchyard::cuda {

namespace {

constexpr unsigned kSumLanes = hd::kSumLanes;

__global__ void count_kernel(CountParams params) {
  for (std::int64_t choice = first_item(); choice < params.tokens * params.top_k; choice += item_stride()) {
    std::int32_t const expert = params.ids[choice];
    if (expert == -1) continue;
    if (expert < 0 || expert >= params.experts) {
      atomicMin(params.fault, static_cast<unsigned long long>(RouterFault::bad_id) << kRouterFaultShift |
                                  static_cast<unsigned long long>(choice));
      continue;
    }
    std::int64_t const sequence = choice / params.top_k % params.sequences;
    atomicAdd(reinterpret_cast<unsigned long long*>(params.counts + sequence * params.experts + expert), 1ULL);
  }
}

/// A block has 32 experts of one sequence; thread (x, y) is lane y of the sum of expert x.
__global__ void column_sums_kernel(BalanceSumParams params) {
  __shared__ float lanes_of[kSumLanes][kSumLanes];
  std::int64_t const expert = static_cast<std::int64_t>(blockIdx.x) * kSumLanes + threadIdx.x;
  std::int64_t const length = params.tokens / params.sequences;
  bool const is_expert = expert < params.experts;
  for (std::int64_t sequence = blockIdx.y; sequence < params.sequences; sequence += gridDim.y) {
    float sum = 0.0F;
    for (std::int64_t n = threadIdx.y; is_expert && n < length; n += kSumLanes) {
      std::int64_t const token = sequence + n * params.sequences;
      if (params.mask != nullptr && params.mask[token] == 0) continue;
      sum = hd::add_rn(sum, params.scores[token * params.experts + expert]);
    }
    lanes_of[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && is_expert) {
      float lanes[kSumLanes];
      for (unsigned lane = 0; lane < kSumLanes; ++lane) lanes[lane] = lanes_of[lane][threadIdx.x];
      params.column_sums[sequence * params.experts + expert] = hd::lane32_join(lanes);
    }
    __syncthreads();
  }
}

/// The loss of one sequence. Called by a warp.
__device__ float loss_of_sequence(BalanceSumParams const& params, std::int64_t sequence) {
  std::int64_t const* const counts = params.counts + sequence * params.experts;
  float const* const sums = params.column_sums + sequence * params.experts;
  std::uint32_t const negative = smallest_code(
      params.experts, [=](std::int32_t e) { return counts[e] < 0 ? static_cast<std::uint32_t>(e) : kNoCode; });
  if (negative != kNoCode) {
    raise_router_fault(params.fault, RouterFault::count, negative);
    return 0.0F;
  }
  float const dot = WarpCrew{}.sum(params.experts,
                                   [=](std::int64_t e) { return hd::mul_rn(sums[e], static_cast<float>(counts[e])); });
  return hd::loss_value(params.factor, dot);
}

/// One block.
__global__ void balance_close_kernel(BalanceSumParams params) {
  for (std::int64_t sequence = first_token(); sequence < params.sequences; sequence += token_stride()) {
    float const loss = loss_of_sequence(params, sequence);
    if (threadIdx.x % kWarpThreads == 0) params.losses[sequence] = loss;
  }
  __syncthreads();
  if (threadIdx.x >= kWarpThreads) return;
  float const sum = WarpCrew{}.sum(params.sequences, hd::Elements{params.losses});
  float const mean = hd::div_rn(sum, static_cast<float>(params.sequences));
  if (threadIdx.x == 0) *params.result = params.averages ? mean : params.losses[0];
}

/// One block.
__global__ void count_unmasked_kernel(std::uint8_t const* mask, std::int64_t tokens, std::int64_t* unmasked) {
  __shared__ unsigned long long count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  unsigned long long own = 0;
  for (std::int64_t token = threadIdx.x; token < tokens; token += blockDim.x)
    own += mask == nullptr || mask[token] != 0 ? 1 : 0;
  atomicAdd(&count, own);
  __syncthreads();
  if (threadIdx.x == 0) *unmasked = static_cast<std::int64_t>(count);
}

/// One warp.
__global__ void z_sum_kernel(float const* sums, std::int64_t tokens, double coefficient, std::int64_t const* unmasked,
                             float* result) {
  float const squares = WarpCrew{}.sum(tokens, hd::Products{sums, sums});
  auto const factor = static_cast<float>(hd::divide_factor(coefficient, *unmasked));
  if (threadIdx.x == 0) *result = hd::loss_value(factor, squares);
}

/// Adds numbers that are not negative. @return -1 when one of them is, or the sum is beyond 63 bits
__device__ std::int64_t add_counts(std::int64_t left, std::int64_t right) {
  constexpr std::int64_t kLargest = 0x7fffffffffffffff;
  return left < 0 || right < 0 || left > kLargest - right ? -1 : left + right;
}

/// One warp.
__global__ void update_bias_kernel(float* bias, std::int64_t const* counts, std::int32_t experts, float rate,
                                   unsigned long long* fault) {
  std::uint32_t const bad = smallest_code(
      experts, [=](std::int32_t e) { return hd::is_finite_f32(bias[e]) ? kNoCode : static_cast<std::uint32_t>(e); });
  if (bad != kNoCode)
    return raise_router_fault(fault, RouterFault::bias,
                              static_cast<std::uint64_t>(bad) << 32 | __float_as_uint(bias[bad]));
  std::int64_t sum = 0;
  for (auto e = static_cast<std::int32_t>(threadIdx.x); e < experts; e += static_cast<std::int32_t>(kWarpThreads))
    sum = add_counts(sum, counts[e]);
  for (int distance = 16; distance > 0; distance /= 2)
    sum = add_counts(sum, __shfl_xor_sync(0xffffffffU, sum, distance));
  if (sum < 0) {
    std::uint32_t const negative =
        smallest_code(experts, [=](std::int32_t e) { return counts[e] < 0 ? static_cast<std::uint32_t>(e) : kNoCode; });
    return raise_router_fault(fault, RouterFault::count, negative == kNoCode ? 0 : negative);
  }
  WarpCrew{}.each(experts, [=](std::int64_t e) {
    bias[e] = hd::updated_bias(bias[e], hd::sign_of_shortfall(sum, experts, counts[e]), rate);
  });
}

void load_kernel(void const* kernel) {
  cudaFuncAttributes attributes{};
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, kernel));
}

}  // namespace

void prepare_sum_kernels() {
  load_kernel(reinterpret_cast<void const*>(&count_kernel));
  load_kernel(reinterpret_cast<void const*>(&column_sums_kernel));
  load_kernel(reinterpret_cast<void const*>(&balance_close_kernel));
  load_kernel(reinterpret_cast<void const*>(&count_unmasked_kernel));
  load_kernel(reinterpret_cast<void const*>(&z_sum_kernel));
  load_kernel(reinterpret_cast<void const*>(&update_bias_kernel));
}

void launch_count(CountParams const& params, StreamView stream) {
  if (params.tokens <= 0) return;
  count_kernel<<<grid_blocks(params.tokens * params.top_k), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("count_kernel");
}

void launch_balance_sum(BalanceSumParams const& params, StreamView stream) {
  constexpr std::int64_t kMaxRows = 65535;
  auto const tiles = static_cast<unsigned>((params.experts + hd::kSumLanes - 1) / hd::kSumLanes);
  auto const rows = static_cast<unsigned>(params.sequences < kMaxRows ? params.sequences : kMaxRows);
  column_sums_kernel<<<dim3(tiles, rows), dim3(kSumLanes, kSumLanes), 0, stream.handle()>>>(params);
  check_launch("column_sums_kernel");
  balance_close_kernel<<<1, kSumLanes * kSumLanes, 0, stream.handle()>>>(params);
  check_launch("balance_close_kernel");
}

void launch_count_unmasked(std::uint8_t const* mask, std::int64_t tokens, std::int64_t* unmasked, StreamView stream) {
  count_unmasked_kernel<<<1, kSumLanes * kSumLanes, 0, stream.handle()>>>(mask, tokens, unmasked);
  check_launch("count_unmasked_kernel");
}

void launch_z_sum(float const* sums, std::int64_t tokens, double coefficient, std::int64_t const* unmasked,
                  float* result, StreamView stream) {
  z_sum_kernel<<<1, kWarpThreads, 0, stream.handle()>>>(sums, tokens, coefficient, unmasked, result);
  check_launch("z_sum_kernel");
}

void launch_update_bias(float* bias, std::int64_t const* counts, std::int32_t experts, float rate,
                        unsigned long long* fault, StreamView stream) {
  update_bias_kernel<<<1, kWarpThreads, 0, stream.handle()>>>(bias, counts, experts, rate, fault);
  check_launch("update_bias_kernel");
}

}  // namespace switchyard::cuda
