// SPDX-License-Identifier: Apache-2.0
/// Quantisation with one scale per row: a block per row, which stays in registers between measuring and encoding.
#pragma once

#include "quantize_groups.cuh"

namespace switchyard::cuda {

inline constexpr int kEightsPerThread = 4;
inline constexpr std::int64_t kLongestRow = 1024 * kEightsPerThread * 8;

/// Largest over the block; every thread gets it.
__device__ inline std::uint32_t largest_of_block(std::uint32_t bits) {
  __shared__ std::uint32_t of_warp[32];
  std::uint32_t const largest = largest_of_lanes(bits, 32);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = largest;
  __syncthreads();
  std::uint32_t const mine = threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : 0;
  __syncthreads();  // before the next row overwrites them
  return largest_of_lanes(mine, 32);
}

template <typename T>
__device__ inline Absmax absmax_of_row(EightValues<T> const (&values)[kEightsPerThread]) {
  std::uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < kEightsPerThread; ++i) {
    std::uint32_t const bits = largest_bits(values[i]);
    largest = largest < bits ? bits : largest;
  }
  largest = largest_of_block(largest);
  if (largest <= kInfinityBits<T>) return {largest, false};
  largest = 0;
#pragma unroll
  for (int i = 0; i < kEightsPerThread; ++i) {
    std::uint32_t const bits = largest_number_bits(values[i]);
    largest = largest < bits ? bits : largest;
  }
  return {largest_of_block(largest), true};
}

template <QuantScheme kScheme, typename T>
__global__ void quantize_row_kernel(QuantizeJob job) {
  for (std::int64_t row = blockIdx.x; row < job.rows; row += gridDim.x) {
    T const* const from = static_cast<T const*>(job.values) + row * job.columns;
    EightValues<T> values[kEightsPerThread];
#pragma unroll
    for (int i = 0; i < kEightsPerThread; ++i) {
      std::int64_t const column = (static_cast<std::int64_t>(i) * blockDim.x + threadIdx.x) * 8;
      values[i] = column < job.columns ? load_eight(from + column) : EightValues<T>{};
    }
    Absmax const largest = absmax_of_row(values);
    float const absmax = number_of<T>(largest.bits);
    hd::GroupScale const scale = hd::group_scale<kScheme>(absmax, job.parameters);
    auto const scaling = scaling_of<kScheme>(scale, absmax, largest.with_nan);
    if (threadIdx.x == 0) store_scale<kScheme>(job.scales + row * job.scale_stride, 0, scale);
#pragma unroll
    for (int i = 0; i < kEightsPerThread; ++i) {
      std::int64_t const column = (static_cast<std::int64_t>(i) * blockDim.x + threadIdx.x) * 8;
      if (column >= job.columns) continue;
      float x[8];
      std::uint32_t words[2];
      widen_eight(values[i], x);
      encode_eight<kScheme>(x, scaling, words);
      store_codes<kScheme>(job.codes + row * job.code_stride, column, words);
    }
  }
}

template <QuantScheme kScheme, typename T>
void launch_rows(QuantizeJob const& job, StreamView stream) {
  if (!fits_sixteen(job) || job.columns > kLongestRow) return launch_any<kScheme, T>(job, stream);
  std::int64_t const threads = (job.columns / 8 + kEightsPerThread - 1) / kEightsPerThread;
  unsigned const block = static_cast<unsigned>((threads + 31) / 32 * 32);
  unsigned const blocks = static_cast<unsigned>(job.rows < (1 << 20) ? job.rows : 1 << 20);
  quantize_row_kernel<kScheme, T><<<blocks, block, 0, stream.handle()>>>(job);
  check_launch("quantize_row_kernel");
}

}  // namespace switchyard::cuda
