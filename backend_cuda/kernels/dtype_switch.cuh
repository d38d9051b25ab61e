// SPDX-License-Identifier: Apache-2.0
/// by_row_dtype(): calls a generic function with a value of the C++ type that a row dtype stands for.
#pragma once

#include "cuda_error.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

template <typename A, typename B>
inline constexpr bool kSameType = false;
template <typename A>
inline constexpr bool kSameType<A, A> = true;

/// @throws Error{unsupported} unless `dtype` is f32, bf16 or f16.
template <typename Function>
void by_row_dtype(DType dtype, Function const& function) {
  if (dtype == DType::f32) return function(float{});
  if (dtype == DType::bf16) return function(bf16_t{});
  if (dtype == DType::f16) return function(f16_t{});
  throw_unsupported_dtype("rows", dtype);
}

}  // namespace switchyard::cuda
