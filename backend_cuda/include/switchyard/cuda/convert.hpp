// SPDX-License-Identifier: Apache-2.0
/// Launchers that convert between float and the narrow types on the device, bit for bit as types/dtype.hpp does.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

/// [count] elements each, device memory, not overlapping.
template <typename T>
struct WidenParams {
  T const* input;
  float* output;
  std::int64_t count;
};

/// [count] elements each, device memory, not overlapping. The last two fields are used by the types that know them.
template <typename T>
struct NarrowParams {
  float const* input;
  T* output;
  std::int64_t count;
  Saturation saturation = Saturation::saturate;               ///< fp8_e4m3_t, fp8_e5m2_t, e8m0_t
  ScaleRounding scale_rounding = ScaleRounding::toward_zero;  ///< e8m0_t
};

/// Asynchronous in `stream`, no allocation, capturable. T is bf16_t, f16_t, fp8_e4m3_t, fp8_e5m2_t or e8m0_t.
/// @throws Error{cuda} if the launch is refused.
template <typename T>
void launch_widen(WidenParams<T> const& params, StreamView stream);
template <typename T>
void launch_narrow(NarrowParams<T> const& params, StreamView stream);

}  // namespace switchyard::cuda
