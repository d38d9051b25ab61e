// SPDX-License-Identifier: Apache-2.0
/// widen_at(): one element of a matrix whose dtype is known when the kernel runs.
#pragma once

#include <cstdint>

#include "switchyard/hd/convert.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

__device__ inline float widen_at(void const* data, DType dtype, std::int64_t index) {
  if (dtype == DType::f32) return static_cast<float const*>(data)[index];
  if (dtype == DType::bf16) return hd::widen(static_cast<bf16_t const*>(data)[index]);
  return hd::widen(static_cast<f16_t const*>(data)[index]);
}

}  // namespace switchyard::cuda
