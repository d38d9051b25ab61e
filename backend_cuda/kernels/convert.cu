// SPDX-License-Identifier: Apache-2.0
// Naive conversion kernels over hd/convert.hpp: one thread per element, integer code only.
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

template <typename T>
__global__ void widen_kernel(WidenParams<T> params) {
  for (std::int64_t i = first_item(); i < params.count; i += item_stride())
    params.output[i] = hd::widen(params.input[i]);
}

template <typename T>
__global__ void narrow_kernel(NarrowParams<T> params) {
  for (std::int64_t i = first_item(); i < params.count; i += item_stride())
    params.output[i] = narrow_with(params, params.input[i]);
}

}  // namespace

template <typename T>
void launch_widen(WidenParams<T> const& params, StreamView stream) {
  if (params.count <= 0) return;
  widen_kernel<<<grid_blocks(params.count), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("widen_kernel");
}

template <typename T>
void launch_narrow(NarrowParams<T> const& params, StreamView stream) {
  if (params.count <= 0) return;
  narrow_kernel<<<grid_blocks(params.count), kBlockThreads, 0, stream.handle()>>>(params);
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

}  // namespace switchyard::cuda
