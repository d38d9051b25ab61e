// SPDX-License-Identifier: Apache-2.0
// The recipe `exact`, one thread per element: at the source, or as wide accumulators at the experts' ranks and a join.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "grid_stride.cuh"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/hd/recipes_exact.hpp"

namespace switchyard::cuda {

namespace {

/// The terms of the sum that element i belongs to.
struct Terms {
  std::int64_t sum;
  std::int64_t column;
  std::int64_t first;
  std::int64_t count;
};
__device__ Terms terms_of(SumRowsParams const& params, std::int64_t i) {
  std::int64_t const sum = i / params.columns;
  std::int64_t const first = params.term_begin[sum];
  return {sum, i % params.columns, first, params.term_begin[sum + 1] - first};
}

template <typename T, typename Weight>
__global__ void exact_rows_kernel(ExactSumParams params) {
  SumRowsParams const& p = params.sum;
  auto const* const shared = static_cast<T const*>(params.shared);
  for (std::int64_t i = first_item(); i < p.num_sums * p.columns; i += item_stride()) {
    Terms const terms = terms_of(p, i);
    static_cast<T*>(p.output)[i] = hd::exact_element<T>(
        static_cast<T const*>(p.rows), p.columns, terms.column, p.term_rows + terms.first,
        static_cast<Weight const*>(p.weights) + terms.first, terms.count, shared == nullptr ? nullptr : shared + i);
  }
}

template <typename T, typename Weight>
__global__ void exact_partials_kernel(ExactSumParams params) {
  SumRowsParams const& p = params.sum;
  for (std::int64_t i = first_item(); i < p.num_sums * p.columns; i += item_stride()) {
    Terms const terms = terms_of(p, i);
    static_cast<hd::ExactSumState<Weight, T>*>(p.output)[i] = hd::exact_partial_element<Weight>(
        static_cast<T const*>(p.rows), p.columns, terms.column, p.term_rows + terms.first,
        static_cast<Weight const*>(p.weights) + terms.first, terms.count);
  }
}

template <typename T, typename Weight>
__global__ void exact_join_kernel(ExactSumParams params) {
  SumRowsParams const& p = params.sum;
  auto const* const shared = static_cast<T const*>(params.shared);
  for (std::int64_t i = first_item(); i < p.num_sums * p.columns; i += item_stride()) {
    Terms const terms = terms_of(p, i);
    static_cast<T*>(p.output)[i] = hd::exact_join_element<T, Weight, T>(
        static_cast<hd::ExactSumState<Weight, T> const*>(p.rows), p.columns, terms.column, p.term_rows + terms.first,
        terms.count, shared == nullptr ? nullptr : shared + i);
  }
}

/// Calls launch(T{}, Weight{}) for the dtypes of `params`.
template <typename Launch>
void by_types(DType row_dtype, bool weights_f64, Launch const& launch) {
  by_row_dtype(row_dtype, [&](auto row) {
    if (weights_f64) return launch(row, double{});
    launch(row, float{});
  });
}

}  // namespace

void launch_exact_rows(ExactSumParams const& params, StreamView stream) {
  std::int64_t const items = params.sum.num_sums * params.sum.columns;
  if (items <= 0) return;
  by_types(params.sum.row_dtype, params.weights_f64, [&](auto row, auto weight) {
    exact_rows_kernel<decltype(row), decltype(weight)>
        <<<grid_blocks(items), kBlockThreads, 0, stream.handle()>>>(params);
  });
  check_launch("exact_rows_kernel");
}

void launch_exact_partials(ExactSumParams const& params, StreamView stream) {
  std::int64_t const items = params.sum.num_sums * params.sum.columns;
  if (items <= 0) return;
  by_types(params.sum.row_dtype, params.weights_f64, [&](auto row, auto weight) {
    exact_partials_kernel<decltype(row), decltype(weight)>
        <<<grid_blocks(items), kBlockThreads, 0, stream.handle()>>>(params);
  });
  check_launch("exact_partials_kernel");
}

void launch_exact_join(ExactSumParams const& params, StreamView stream) {
  std::int64_t const items = params.sum.num_sums * params.sum.columns;
  if (items <= 0) return;
  by_types(params.sum.row_dtype, params.weights_f64, [&](auto row, auto weight) {
    exact_join_kernel<decltype(row), decltype(weight)>
        <<<grid_blocks(items), kBlockThreads, 0, stream.handle()>>>(params);
  });
  check_launch("exact_join_kernel");
}

std::int64_t exact_state_bytes(DType row_dtype, bool weights_f64) {
  std::int64_t bytes = 0;
  by_types(row_dtype, weights_f64, [&](auto row, auto weight) {
    bytes = static_cast<std::int64_t>(sizeof(hd::ExactSumState<decltype(weight), decltype(row)>));
  });
  return bytes;
}

}  // namespace switchyard::cuda
