// SPDX-License-Identifier: Apache-2.0
/// The device language of kernels that are compiled for the host: a launch runs its blocks one after the other, a block
/// has a fiber per thread. What threads of a warp or a block do together waits for those that still run.
///
/// Included before everything else by sources that emulated_kernel.cmake makes of kernels. Whole programs run so,
/// unlike over emulated_blocks.hpp, whose blocks run beside each other: kernels whose blocks wait for each other would
/// not end here. Memory is sequentially consistent, which a GPU's is not.
#pragma once

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#undef __device__
#undef __host__
#undef __global__
#undef __forceinline__
#undef __noinline__
#undef __launch_bounds__
#undef __shared__
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __shared__ static

struct EmulatedIndex {
  unsigned x = 0;
  unsigned y = 0;
};
extern EmulatedIndex threadIdx;
extern EmulatedIndex blockIdx;
extern EmulatedIndex blockDim;
extern EmulatedIndex gridDim;

namespace support {

/// What stands between <<< and >>>.
struct EmulatedLaunch {
  EmulatedLaunch(dim3 blocks, dim3 threads, std::size_t bytes = 0, cudaStream_t = nullptr)
      : grid(blocks), block(threads), shared_bytes(bytes) {}
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes;
};

/// Runs a kernel, or keeps it for the graph that is captured. @param body called per thread, owns its arguments
void emulate(EmulatedLaunch const& launch, std::function<void()> const& body);
[[nodiscard]] void* emulated_shared();
/// @return the values of the warp's lanes
[[nodiscard]] std::uint64_t const* emulated_lanes(std::uint64_t value);
[[nodiscard]] unsigned emulated_lane();
/// @return whether any thread of the block passed true
bool emulated_barrier(bool value);

template <typename T>
std::uint64_t emulated_bits(T value) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <typename T>
T emulated_value(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace support

template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(Params...), Args const&... args) {
  support::emulate({config->gridDim, config->blockDim, config->dynamicSmemBytes}, [=] { kernel(args...); });
  return cudaSuccess;
}

inline unsigned __ballot_sync(unsigned, bool value) {
  std::uint64_t const* const lanes = support::emulated_lanes(value ? 1 : 0);
  unsigned mask = 0;
  for (unsigned lane = 0; lane < 32; ++lane) mask |= static_cast<unsigned>(lanes[lane]) << lane;
  return mask;
}
inline int __any_sync(unsigned mask, bool value) {
  return __ballot_sync(mask, value) != 0;
}
template <typename T>
T __shfl_sync(unsigned, T value, int from) {
  return support::emulated_value<T>(support::emulated_lanes(support::emulated_bits(value))[from]);
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned distance) {
  std::uint64_t const* const lanes = support::emulated_lanes(support::emulated_bits(value));
  unsigned const lane = support::emulated_lane();
  return support::emulated_value<T>(lanes[lane >= distance ? lane - distance : lane]);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned distance) {
  std::uint64_t const* const lanes = support::emulated_lanes(support::emulated_bits(value));
  unsigned const lane = support::emulated_lane();
  return support::emulated_value<T>(lanes[lane + distance < 32 ? lane + distance : lane]);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int distance) {
  std::uint64_t const* const lanes = support::emulated_lanes(support::emulated_bits(value));
  return support::emulated_value<T>(lanes[support::emulated_lane() ^ static_cast<unsigned>(distance)]);
}
template <typename T>
unsigned __match_any_sync(unsigned, T value) {
  std::uint64_t const own = support::emulated_bits(value);
  std::uint64_t const* const lanes = support::emulated_lanes(own);
  unsigned mask = 0;
  for (unsigned lane = 0; lane < 32; ++lane) mask |= (lanes[lane] == own ? 1U : 0U) << lane;
  return mask;
}
inline void __syncwarp(unsigned = 0) {
  static_cast<void>(support::emulated_lanes(0));
}
inline void __syncthreads() {
  support::emulated_barrier(false);
}
inline int __syncthreads_or(int value) {
  return support::emulated_barrier(value != 0) ? 1 : 0;
}
inline void __threadfence() {}
using std::isnan;
inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
inline int __ffs(int bits) {
  return __builtin_ffs(bits);
}
inline unsigned __float_as_uint(float value) {
  return static_cast<unsigned>(support::emulated_bits(value));
}
template <typename T>
T __ldcs(T const* from) {
  return *from;
}
template <typename T>
void __stcs(T* to, T value) {
  *to = value;
}
template <typename T, typename Value>
T atomicAdd(T* word, Value value) {
  T const old = *word;
  *word = static_cast<T>(old + static_cast<T>(value));
  return old;
}
template <typename T, typename Value>
T atomicMax(T* word, Value value) {
  T const old = *word;
  if (static_cast<T>(value) > old) *word = static_cast<T>(value);
  return old;
}
template <typename T, typename Value>
T atomicMin(T* word, Value value) {
  T const old = *word;
  if (static_cast<T>(value) < old) *word = static_cast<T>(value);
  return old;
}
template <typename T, typename Value>
T atomicCAS(T* word, Value expected, Value value) {
  T const old = *word;
  if (old == static_cast<T>(expected)) *word = static_cast<T>(value);
  return old;
}
