// SPDX-License-Identifier: Apache-2.0
#include "cuda_error.hpp"
#include "kernels/quantize_codes.cuh"
#include "kernels/quantize_values.cuh"
#include "quantize_probe.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;
namespace hd = switchyard::hd;

/// The shortcut's code and hd's.
__device__ bool same(CodeShortcut shortcut, cuda::SharedDivisor const& division, float x) {
  switch (shortcut) {
    case CodeShortcut::e4m3: return cuda::e4m3_pair(x, -x) == (hd::encode_e4m3(x) | (hd::encode_e4m3(-x) << 8));
    case CodeShortcut::int8_round: return cuda::int8_rounded(x) == hd::encode_int8_round(x);
    case CodeShortcut::int8_truncate:
      return !(fabsf(x) < 128.0f) || cuda::int8_truncated(x) == hd::encode_int8_truncate(x);
    case CodeShortcut::e2m1: return x != x || cuda::e2m1_code(x) == hd::encode_e2m1(x);
    case CodeShortcut::divided_e4m3:
      return (cuda::e4m3_pair(division(x), 0.0f) & 0xffu) == hd::encode_e4m3(hd::div_rn(x, division.divisor));
    case CodeShortcut::divided_int8:
      return !(fabsf(x) <= 127.0f * division.divisor) ||
             cuda::int8_truncated(division(x)) == hd::encode_int8_truncate(hd::div_rn(x, division.divisor));
    case CodeShortcut::f16_values: {
      auto const bits = static_cast<std::uint16_t>(__float_as_uint(x));
      float const value = hd::canonical(cuda::number_of<switchyard::f16_t>(bits));
      return __float_as_uint(value) == __float_as_uint(hd::widen(switchyard::f16_t{bits}));
    }
  }
  return false;
}

__global__ void shortcut_kernel(CodeShortcut shortcut, float divisor, ShortcutResult* result) {
  bool const divides = shortcut == CodeShortcut::divided_e4m3 || shortcut == CodeShortcut::divided_int8;
  float const largest = divides ? 1000.0f * divisor : 0.0f;
  cuda::SharedDivisor const division(divides ? divisor : 1.0f, largest, false);
  std::uint64_t const stride = static_cast<std::uint64_t>(gridDim.x) * blockDim.x;
  for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < (1ULL << 32);
       i += stride) {
    float const x = __uint_as_float(static_cast<std::uint32_t>(i));
    if (divides && fabsf(x) > largest) continue;
    if (same(shortcut, division, x)) continue;
    atomicAdd(reinterpret_cast<unsigned long long*>(&result->differing), 1ULL);
    atomicMin(reinterpret_cast<unsigned long long*>(&result->first), static_cast<unsigned long long>(i));
  }
}

}  // namespace

void launch_shortcut(CodeShortcut shortcut, float divisor, ShortcutResult* result, cuda::StreamView stream) {
  shortcut_kernel<<<4096, cuda::kBlockThreads, 0, stream.handle()>>>(shortcut, divisor, result);
  cuda::check_launch("shortcut_kernel");
}

}  // namespace cross_backend
