// SPDX-License-Identifier: Apache-2.0
/// Quantisation of groups within rows: sixteen values per thread, groups of threads that share a scale, one pass.
/// Shapes that do not fit take a warp per group and two readings.
#pragma once

#include <cstdint>

#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "quantize_codes.cuh"
#include "quantize_kernels.hpp"
#include "quantize_values.cuh"

namespace switchyard::cuda {

/// Scales of any alignment: they may lie behind a row's codes.
template <QuantScheme kScheme>
__device__ inline void store_scale(std::uint8_t* scales, std::int64_t index, hd::GroupScale const& scale) {
  if constexpr (kByteScale<kScheme>) {
    scales[index] = scale.code;
  } else {
    std::uint8_t* const to = scales + 4 * index;
    std::uint32_t const bits = __float_as_uint(scale.stored);
    if (reinterpret_cast<std::uintptr_t>(to) % 4 == 0) {
      *reinterpret_cast<std::uint32_t*>(to) = bits;
    } else {
      for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(bits >> (8 * i));
    }
  }
}

template <QuantScheme kScheme>
__device__ inline void store_codes(std::uint8_t* row, std::int64_t column, std::uint32_t const (&words)[2]) {
  if constexpr (kScheme == QuantScheme::nvfp4) {
    __stcs(reinterpret_cast<unsigned*>(row + column / 2), words[0]);
  } else {
    __stcs(reinterpret_cast<uint2*>(row + column), make_uint2(words[0], words[1]));
  }
}

/// Two runs of eight values of one row.
template <typename T>
struct SixteenValues {
  EightValues<T> half[2];
  std::int64_t column[2];  ///< of the first value; beyond the row: nothing there
};

template <QuantScheme kScheme, typename T>
__device__ inline void encode_sixteen(QuantizeJob const& job, SixteenValues<T> const& values, std::int64_t row,
                                      Absmax const& largest, std::int64_t group, bool stores_scale) {
  float const absmax = number_of<T>(largest.bits);
  hd::GroupScale const scale = group_scale_of<kScheme>(absmax, job);
  auto const scaling = scaling_of<kScheme>(scale, absmax, largest.with_nan);
  if (stores_scale) store_scale<kScheme>(job.scales + row * job.scale_stride, group, scale);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (values.column[i] >= job.columns) continue;
    float x[8];
    std::uint32_t words[2];
    widen_eight(values.half[i], x);
    encode_eight<kScheme>(x, scaling, words);
    store_codes<kScheme>(job.codes + row * job.code_stride, values.column[i], words);
  }
}

template <typename T>
__device__ inline SixteenValues<T> load_sixteen(QuantizeJob const& job, std::int64_t row, std::int64_t first,
                                                unsigned distance) {
  T const* const from = static_cast<T const*>(job.values) + row * job.columns + first;
  SixteenValues<T> values;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    values.column[i] = first + i * static_cast<std::int64_t>(distance);
    values.half[i] = values.column[i] < job.columns ? load_eight(from + i * distance) : EightValues<T>{};
  }
  return values;
}

/// Without NaNs, which are rare: only a warp that holds one looks for them value by value.
template <typename T>
__device__ inline Absmax absmax_of_lanes(SixteenValues<T> const& values, unsigned lanes) {
  std::uint32_t const a = largest_bits(values.half[0]);
  std::uint32_t const b = largest_bits(values.half[1]);
  std::uint32_t const largest = largest_of_lanes(a < b ? b : a, lanes);
  if (__any_sync(0xffffffffu, largest > kInfinityBits<T>) == 0) return {largest, false};
  std::uint32_t const c = largest_number_bits(values.half[0]);
  std::uint32_t const d = largest_number_bits(values.half[1]);
  return {largest_of_lanes(c < d ? d : c, lanes), true};
}

/// 2^lane_bits threads per group of 16 columns each; columns and addresses are multiples of 16.
template <QuantScheme kScheme, typename T>
__global__ void quantize_groups_kernel(QuantizeJob job, int any_lane_bits, std::int64_t threads_per_row) {
  int const lane_bits = kScheme == QuantScheme::nvfp4 ? 0 : kScheme == QuantScheme::mxfp8 ? 1 : any_lane_bits;
  unsigned const lanes = 1u << lane_bits;
  for (std::int64_t row = blockIdx.y; row < job.rows; row += gridDim.y)
    for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * blockDim.x; base < threads_per_row;
         base += item_stride()) {
      std::int64_t const thread = base + threadIdx.x;
      std::int64_t const group = thread >> lane_bits;
      unsigned const lane = threadIdx.x & (lanes - 1);
      std::int64_t const first = group * (lanes * 16) + lane * 8;
      SixteenValues<T> const values = load_sixteen<T>(job, row, first, lanes * 8);
      Absmax const absmax = absmax_of_lanes(values, lanes);
      encode_sixteen<kScheme>(job, values, row, absmax, group, lane == 0 && first < job.columns);
    }
}

template <QuantScheme kScheme>
__device__ inline std::uint32_t encode_one(float x, hd::GroupScale const& scale) {
  return hd::encode<kScheme>(x, scale.factor);
}

/// A warp per group of any size; half bytes are joined by the lane that owns both.
template <QuantScheme kScheme, typename T>
__global__ void quantize_any_kernel(QuantizeJob job, std::int64_t groups_per_row) {
  constexpr bool kHalves = kScheme == QuantScheme::nvfp4;
  std::int64_t const lane = threadIdx.x % 32;
  for (std::int64_t item = first_item() / 32; item < job.rows * groups_per_row; item += item_stride() / 32) {
    std::int64_t const row = item / groups_per_row;
    std::int64_t const group = item % groups_per_row;
    std::int64_t const begin = group * job.group;
    std::int64_t const end = begin + job.group < job.columns ? begin + job.group : job.columns;
    T const* const values = static_cast<T const*>(job.values) + row * job.columns;
    std::uint32_t largest = 0;
    for (std::int64_t c = begin + lane; c < end; c += 32) {
      std::uint32_t const bits = __float_as_uint(hd::widen(values[c])) & 0x7fffffffu;
      if (bits <= 0x7f800000u && bits > largest) largest = bits;
    }
    float const absmax = __uint_as_float(largest_of_lanes(largest, 32));
    hd::GroupScale const scale = hd::group_scale<kScheme>(absmax, job.parameters);
    if (lane == 0) store_scale<kScheme>(job.scales + row * job.scale_stride, group, scale);
    std::uint8_t* const codes = job.codes + row * job.code_stride;
    for (std::int64_t c = begin + lane * (kHalves ? 2 : 1); c < end; c += kHalves ? 64 : 32) {
      std::uint32_t code = encode_one<kScheme>(hd::widen(values[c]), scale);
      if (kHalves && c + 1 < end) code |= encode_one<kScheme>(hd::widen(values[c + 1]), scale) << 4;
      codes[kHalves ? c / 2 : c] = static_cast<std::uint8_t>(code);
    }
  }
}

inline bool fits_sixteen(QuantizeJob const& job) {
  std::uintptr_t const addresses = reinterpret_cast<std::uintptr_t>(job.values) |
                                   reinterpret_cast<std::uintptr_t>(job.codes) |
                                   static_cast<std::uintptr_t>(job.code_stride);
  return job.columns % 16 == 0 && addresses % 16 == 0;
}

/// The logarithm of threads per group, or -1 where sixteen values per thread do not make a power of two of them.
inline int lane_bits_of(QuantizeJob const& job) {
  for (int bits = 0; bits <= 5; ++bits)
    if (job.group == std::int64_t{16} << bits && fits_sixteen(job)) return bits;
  return -1;
}

template <QuantScheme kScheme, typename T>
void launch_any(QuantizeJob const& job, StreamView stream) {
  std::int64_t const groups = (job.columns - 1) / job.group + 1;
  quantize_any_kernel<kScheme, T>
      <<<grid_blocks(job.rows * groups * 32), kBlockThreads, 0, stream.handle()>>>(job, groups);
  check_launch("quantize_any_kernel");
}

template <QuantScheme kScheme, typename T>
void launch_groups(QuantizeJob job, StreamView stream) {
  int const lane_bits = lane_bits_of(job);
  if (lane_bits < 0) return launch_any<kScheme, T>(job, stream);
  if (job.packed && job.columns % job.group == 0) {  // rows without gaps are one long row
    job.columns *= job.rows;
    job.rows = 1;
  }
  std::int64_t const threads = ((job.columns - 1) / job.group + 1) << lane_bits;
  std::int64_t const blocks = (threads + kBlockThreads - 1) / kBlockThreads;
  dim3 const grid(static_cast<unsigned>(blocks < (1 << 20) ? blocks : 1 << 20),
                  static_cast<unsigned>(job.rows < 65535 ? job.rows : 65535));
  quantize_groups_kernel<kScheme, T><<<grid, kBlockThreads, 0, stream.handle()>>>(job, lane_bits, threads);
  check_launch("quantize_groups_kernel");
}

}  // namespace switchyard::cuda
