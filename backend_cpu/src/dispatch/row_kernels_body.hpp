// SPDX-License-Identifier: Apache-2.0
/// The hot loops, written once. Each row_kernels_<target>.cpp includes this with SWITCHYARD_TARGET set to its
/// namespace and its own -march.
///
/// Every target also gets its own copy of the host-device functions, in a namespace of its own: were they shared, the
/// linker could keep the AVX-512 build of an inline function and hand it to a machine without AVX-512.
#if !defined(SWITCHYARD_TARGET) || !defined(SWITCHYARD_TARGET_HD)
#error "row_kernels_body.hpp is only for the row_kernels_<target>.cpp files"
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "row_kernels.hpp"
#include "switchyard/types/dtype.hpp"
#include "switchyard/types/host_device.hpp"

#define hd SWITCHYARD_TARGET_HD
#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/gather_step.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/recipes_exact.hpp"
#include "switchyard/hd/tree_sum.hpp"

namespace switchyard::cpu::SWITCHYARD_TARGET {
namespace {

/// Partials are joined in tiles that stay in the first-level cache over all levels of the tree.
constexpr std::int64_t kJoinTile = 512;

void gather_rows(std::byte const* in, std::int64_t row_bytes, std::int64_t const* map, std::byte* out,
                 std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) hd::gather_row(in, row_bytes, map, row, out);
}

void join_partials(float* partials, std::int64_t stride, std::int64_t count, std::int64_t begin, std::int64_t end) {
  for (std::int64_t tile = begin; tile < end; tile += kJoinTile) {
    std::int64_t const left = end - tile;
    hd::tree_sum_in_place(partials + tile, stride, count, left < kJoinTile ? left : kJoinTile);
  }
}

/// @tparam In of the rows or partials, Out of the result
template <typename In, typename Out, typename Step>
void sum_rounded(TokenSumTask const& task) {
  hd::combine_row<In, Out, Step>(static_cast<In const*>(task.rows), task.hidden, task.hidden, task.row_of_term,
                                 static_cast<typename Step::Weight const*>(task.weights), task.count,
                                 static_cast<Out*>(task.out));
}

template <typename T, typename Weight>
void sum_exactly(TokenSumTask const& task) {
  hd::exact_row<T>(static_cast<T const*>(task.rows), task.hidden, task.hidden, task.row_of_term,
                   static_cast<Weight const*>(task.weights), task.count, static_cast<T*>(task.out),
                   static_cast<T const*>(task.shared));
}

template <typename T>
void widen_elements(void const* in, float* out, std::int64_t begin, std::int64_t end) {
  T const* const values = static_cast<T const*>(in);
  for (std::int64_t i = begin; i < end; ++i) out[i] = hd::widen(values[i]);
}

template <typename T>
void narrow_elements(float const* in, void* out, std::int64_t begin, std::int64_t end) {
  T* const values = static_cast<T*>(out);
  for (std::int64_t i = begin; i < end; ++i) values[i] = hd::narrow<T>(in[i]);
}

template <typename T>
constexpr ElementKernels element_kernels() {
  using Join = hd::JoinPartials<float>;
  return {sum_rounded<T, T, hd::Fp32Product>,
          sum_rounded<T, T, hd::RowProduct>,
          sum_exactly<T, float>,
          sum_exactly<T, double>,
          sum_rounded<T, bf16_t, hd::Fp32Product>,
          sum_rounded<T, float, hd::Fp32Product>,
          sum_rounded<T, T, Join>,
          sum_rounded<bf16_t, T, Join>,
          sum_rounded<float, T, Join>,
          widen_elements<T>,
          narrow_elements<T>};
}

}  // namespace

extern RowKernels const kRowKernels;
RowKernels const kRowKernels = {gather_rows, join_partials, element_kernels<float>(), element_kernels<bf16_t>(),
                                element_kernels<f16_t>()};

}  // namespace switchyard::cpu::SWITCHYARD_TARGET
