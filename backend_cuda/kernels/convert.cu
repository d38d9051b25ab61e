// SPDX-License-Identifier: Apache-2.0
// Conversion kernels over hd/convert.hpp, integer code only: four elements per thread where addresses allow it.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "switchyard/cuda/convert.hpp"
#include "switchyard/hd/convert.hpp"

namespace switchyard::cuda {

namespace {

template <typename T>
__device__ T narrow_with(NarrowParams<T> const& params, float value);
template <>
__device__ bf16_t narrow_with(NarrowParams<bf16_t> const&, float value) {
  return hd::round_to_bf16(value);
}
template <>
__device__ f16_t narrow_with(NarrowParams<f16_t> const&, float value) {
  return hd::round_to_f16(value);
}
template <>
__device__ fp8_e4m3_t narrow_with(NarrowParams<fp8_e4m3_t> const& params, float value) {
  return hd::round_to_e4m3(value, params.saturation);
}
template <>
__device__ fp8_e5m2_t narrow_with(NarrowParams<fp8_e5m2_t> const& params, float value) {
  return hd::round_to_e5m2(value, params.saturation);
}
template <>
__device__ e8m0_t narrow_with(NarrowParams<e8m0_t> const& params, float value) {
  return hd::round_to_e8m0(value, params.scale_rounding, params.saturation);
}

/// Elements that a thread takes at once.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Run {
  T value[kCount];
};
constexpr int kWide = 4;

template <typename T, int kCount>
__global__ void widen_kernel(WidenParams<T> params) {
  auto const* const input = reinterpret_cast<Run<T, kCount> const*>(params.input);
  auto* const output = reinterpret_cast<Run<float, kCount>*>(params.output);
#pragma unroll 2
  for (std::int64_t i = first_item(); i < params.count / kCount; i += item_stride()) {
    Run<T, kCount> const from = input[i];
    Run<float, kCount> to;
#pragma unroll
    for (int c = 0; c < kCount; ++c) to.value[c] = hd::widen(from.value[c]);
    output[i] = to;
  }
}

template <typename T, int kCount>
__global__ void narrow_kernel(NarrowParams<T> params) {
  auto const* const input = reinterpret_cast<Run<float, kCount> const*>(params.input);
  auto* const output = reinterpret_cast<Run<T, kCount>*>(params.output);
#pragma unroll 2
  for (std::int64_t i = first_item(); i < params.count / kCount; i += item_stride()) {
    Run<float, kCount> const from = input[i];
    Run<T, kCount> to;
#pragma unroll
    for (int c = 0; c < kCount; ++c) to.value[c] = narrow_with(params, from.value[c]);
    output[i] = to;
  }
}

/// Whether `count` elements of both kinds lie in whole aligned runs.
template <typename From, typename To>
bool in_runs(From const* input, To const* output, std::int64_t count) {
  return count % kWide == 0 && reinterpret_cast<std::uintptr_t>(input) % (sizeof(From) * kWide) == 0 &&
         reinterpret_cast<std::uintptr_t>(output) % (sizeof(To) * kWide) == 0;
}

}  // namespace

#ifdef __CUDACC__  // launches; tests run the code above on the host
template <typename T>
void launch_widen(WidenParams<T> const& params, StreamView stream) {
  if (params.count <= 0) return;
  if (in_runs(params.input, params.output, params.count)) {
    widen_kernel<T, kWide><<<grid_blocks(params.count / kWide), kBlockThreads, 0, stream.handle()>>>(params);
  } else {
    widen_kernel<T, 1><<<grid_blocks(params.count), kBlockThreads, 0, stream.handle()>>>(params);
  }
  check_launch("widen_kernel");
}

template <typename T>
void launch_narrow(NarrowParams<T> const& params, StreamView stream) {
  if (params.count <= 0) return;
  if (in_runs(params.input, params.output, params.count)) {
    narrow_kernel<T, kWide><<<grid_blocks(params.count / kWide), kBlockThreads, 0, stream.handle()>>>(params);
  } else {
    narrow_kernel<T, 1><<<grid_blocks(params.count), kBlockThreads, 0, stream.handle()>>>(params);
  }
  check_launch("narrow_kernel");
}

template void launch_widen(WidenParams<bf16_t> const&, StreamView);
template void launch_widen(WidenParams<f16_t> const&, StreamView);
template void launch_widen(WidenParams<fp8_e4m3_t> const&, StreamView);
template void launch_widen(WidenParams<fp8_e5m2_t> const&, StreamView);
template void launch_widen(WidenParams<e8m0_t> const&, StreamView);
template void launch_narrow(NarrowParams<bf16_t> const&, StreamView);
template void launch_narrow(NarrowParams<f16_t> const&, StreamView);
template void launch_narrow(NarrowParams<fp8_e4m3_t> const&, StreamView);
template void launch_narrow(NarrowParams<fp8_e5m2_t> const&, StreamView);
template void launch_narrow(NarrowParams<e8m0_t> const&, StreamView);
#endif

}  // namespace switchyard::cuda
