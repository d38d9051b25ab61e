// SPDX-License-Identifier: Apache-2.0
/// One weight between lists of f32 and f64, whose types are known when the kernel runs.
#pragma once

#include <cstdint>

#include "switchyard/hd/exact_sum_format.hpp"

namespace switchyard::cuda {

__device__ inline double read_weight(void const* weights, bool is_f64, std::int64_t index) {
  return is_f64 ? static_cast<double const*>(weights)[index]
                : static_cast<double>(static_cast<float const*>(weights)[index]);
}

/// output[to] = weights[from], rounded from f64 to f32 where the types say so.
__device__ inline void copy_weight(void const* weights, bool is_f64, std::int64_t from, void* output, bool output_f64,
                                   std::int64_t to) {
  if (!is_f64 && !output_f64)
    static_cast<float*>(output)[to] = static_cast<float const*>(weights)[from];
  else if (output_f64)
    static_cast<double*>(output)[to] = read_weight(weights, is_f64, from);
  else
    static_cast<float*>(output)[to] = hd::narrow_double<float>(static_cast<double const*>(weights)[from]);
}

}  // namespace switchyard::cuda
