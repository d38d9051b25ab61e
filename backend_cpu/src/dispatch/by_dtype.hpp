// SPDX-License-Identifier: Apache-2.0
/// by_dtype(): calls a generic function with a value of the C++ type that a row dtype stands for.
#pragma once

#include "row_kernels.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cpu {

/// @throws Error{unsupported} unless `dtype` is f32, bf16 or f16.
template <typename Function>
void by_dtype(DType dtype, Function const& function) {
  static_cast<void>(kernels_of(active_row_kernels(), dtype));  // refuses the others
  if (dtype == DType::f32) return function(float{});
  if (dtype == DType::bf16) return function(bf16_t{});
  function(f16_t{});
}

}  // namespace switchyard::cpu
