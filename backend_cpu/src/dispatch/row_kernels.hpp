// SPDX-License-Identifier: Apache-2.0
/// RowKernels: the hot loops over rows, as a table of functions per instruction set. No rank, no plan, no threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/types/dtype.hpp"

namespace switchyard::cpu {

/// The weighted sum of one token's rows, in the order of its list.
struct TokenSumTask {
  void const* rows;                 ///< [*, hidden] of the row dtype
  std::int64_t hidden;              ///< columns
  std::int64_t const* row_of_term;  ///< [count]
  void const* weights;              ///< [count] float or double, as the loop's name says
  std::int64_t count;
  void const* shared;  ///< [hidden] of the row dtype: one more term of weight 1, or null; read by exact sums only
  void* out;           ///< [hidden] of the row dtype
};
using SumToken = void (*)(TokenSumTask const& task);

/// The loops that depend on the row dtype; ranges are [begin, end).
struct ElementKernels {
  SumToken sum_products;      ///< products and sums rounded to fp32 (hd/combine_step.hpp)
  SumToken sum_row_products;  ///< products rounded to the row dtype (hd/recipes.hpp)
  SumToken sum_exactly;       ///< hd/recipes_exact.hpp
  SumToken sum_exactly_f64;   ///< the same with fp64 weights
  SumToken partial_bf16;      ///< sum_products stored as bf16: a rank's part of a sum, on the wire
  SumToken partial_f32;
  SumToken join_rows;  ///< partials of the row dtype, added in fp32; weights are not read
  SumToken join_bf16;  ///< the same of bf16 partials
  SumToken join_f32;
  void (*widen)(void const* in, float* out, std::int64_t begin, std::int64_t end);
  void (*narrow)(float const* in, void* out, std::int64_t begin, std::int64_t end);
};

struct RowKernels {
  /// Row i of out is row map[i] of in, for i in [begin, end).
  void (*gather_rows)(std::byte const* in, std::int64_t row_bytes, std::int64_t const* map, std::byte* out,
                      std::int64_t begin, std::int64_t end);
  /// Adds the partials of `count` ranks, `stride` floats apart, into the first, for elements [begin, end).
  void (*join_partials)(float* partials, std::int64_t stride, std::int64_t count, std::int64_t begin, std::int64_t end);
  ElementKernels f32;
  ElementKernels bf16;
  ElementKernels f16;
};

namespace baseline {
extern RowKernels const kRowKernels;
}
#if defined(SWITCHYARD_X86_TARGETS)
namespace x86_64_v2 {
extern RowKernels const kRowKernels;
}
namespace x86_64_v3 {
extern RowKernels const kRowKernels;
}
namespace x86_64_v4 {
extern RowKernels const kRowKernels;
}
#endif

/// @return the loops of the active instruction set.
[[nodiscard]] RowKernels const& active_row_kernels();
/// @return the part for `dtype`. @throws Error{unsupported} unless it is f32, bf16 or f16.
[[nodiscard]] ElementKernels const& kernels_of(RowKernels const& kernels, DType dtype);

}  // namespace switchyard::cpu
