// SPDX-License-Identifier: Apache-2.0
/// Eight neighbouring values of a row as one thread holds them, and the largest magnitudes among threads.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "switchyard/hd/convert.hpp"

namespace switchyard::cuda {

/// Values as they lie in memory, 16-bit ones two per word.
template <typename T>
struct EightValues {
  static constexpr int kWords = static_cast<int>(sizeof(T)) * 2;
  std::uint32_t word[kWords];
};

template <typename T>
__device__ inline EightValues<T> load_eight(T const* from) {
  EightValues<T> values;
#pragma unroll
  for (int i = 0; i < EightValues<T>::kWords; i += 4) {
    uint4 const part = __ldcs(reinterpret_cast<uint4 const*>(from) + i / 4);
    values.word[i] = part.x;
    values.word[i + 1] = part.y;
    values.word[i + 2] = part.z;
    values.word[i + 3] = part.w;
  }
  return values;
}

template <typename T>
inline constexpr std::uint32_t kInfinityBits = 0x7f800000u;
template <>
inline constexpr std::uint32_t kInfinityBits<bf16_t> = 0x7f80u;
template <>
inline constexpr std::uint32_t kInfinityBits<f16_t> = 0x7c00u;

/// Bits of the largest magnitude; the order of magnitudes is the order of their bits, and NaNs are above all.
template <typename T>
__device__ inline std::uint32_t largest_bits(EightValues<T> const& values) {
  std::uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < EightValues<T>::kWords; ++i) {
    if constexpr (sizeof(T) == 4) {
      std::uint32_t const magnitude = values.word[i] & 0x7fffffffu;
      largest = largest < magnitude ? magnitude : largest;
    } else {
      largest = __vmaxu2(largest, values.word[i] & 0x7fff7fffu);
    }
  }
  if constexpr (sizeof(T) == 4) return largest;
  std::uint32_t const low = largest & 0xffffu;
  std::uint32_t const high = largest >> 16;
  return low < high ? high : low;
}

template <typename T>
__device__ inline std::uint32_t value_bits(EightValues<T> const& values, int i) {
  if constexpr (sizeof(T) == 4) return values.word[i];
  return (values.word[i / 2] >> (i % 2 * 16)) & 0xffffu;
}

/// The same without NaNs.
template <typename T>
__device__ inline std::uint32_t largest_number_bits(EightValues<T> const& values) {
  std::uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    std::uint32_t const magnitude = value_bits(values, i) & (sizeof(T) == 4 ? 0x7fffffffu : 0x7fffu);
    if (magnitude <= kInfinityBits<T> && magnitude > largest) largest = magnitude;
  }
  return largest;
}

/// hd::widen, but for NaNs, which keep a payload here.
template <typename T>
__device__ inline float number_of(std::uint32_t bits) {
  if constexpr (sizeof(T) == 4) return __uint_as_float(bits);
  if constexpr (kInfinityBits<T> == 0x7f80u) return __uint_as_float(bits << 16);
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

template <typename T>
__device__ inline void widen_eight(EightValues<T> const& values, float (&out)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) out[i] = number_of<T>(value_bits(values, i));
}

/// Bits of the largest magnitude among numbers, and whether NaNs were left out.
struct Absmax {
  std::uint32_t bits;
  bool with_nan;
};

/// Maximum over groups of `lanes` neighbouring lanes (a power of two); the whole warp takes part.
__device__ inline std::uint32_t largest_of_lanes(std::uint32_t bits, unsigned lanes) {
  for (unsigned distance = lanes / 2; distance > 0; distance /= 2) {
    std::uint32_t const other = __shfl_xor_sync(0xffffffffu, bits, static_cast<int>(distance));
    bits = bits < other ? other : bits;
  }
  return bits;
}

}  // namespace switchyard::cuda
