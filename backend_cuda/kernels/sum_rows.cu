// SPDX-License-Identifier: Apache-2.0
// The rounding sums of the combine recipes. A thread owns 16 bytes of columns of one sum and walks its terms in order,
// so that every column sees the step of hd/recipes.hpp in the order of the list; rows that do not divide into 16 bytes
// take one column per thread.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "grid_stride.cuh"
#include "pack_grid.cuh"
#include "sum_packs.cuh"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/hd/recipes.hpp"

namespace switchyard::cuda {

namespace {

template <typename T, typename Out, typename Step>
__global__ void sum_columns_kernel(SumRowsParams params) {
  using Weight = typename Step::Weight;
  for (std::int64_t i = first_item(); i < params.num_sums * params.columns; i += item_stride()) {
    std::int64_t const sum = i / params.columns;
    std::int64_t const first = params.term_begin[sum];
    auto const* const weights = static_cast<Weight const*>(params.weights);
    static_cast<Out*>(params.output)[i] = hd::combine_element<T, Out, Step>(
        static_cast<T const*>(params.rows), params.columns, i % params.columns, params.term_rows + first,
        weights == nullptr ? nullptr : weights + first, params.term_begin[sum + 1] - first);
  }
}

template <typename T, typename Out, typename Step>
__global__ void sum_packs_kernel(SumRowsParams params) {
  using Weight = typename Step::Weight;
  std::int64_t const column = first_item() * kPack<T>;
  if (column >= params.columns) return;
  for (std::int64_t sum = first_sum(); sum < params.num_sums; sum += sum_stride()) {
    std::int64_t const first = params.term_begin[sum];
    auto const* const weights = static_cast<Weight const*>(params.weights);
    typename Step::Sum sums[kPack<T>] = {};
    add_terms<T, Step>(static_cast<T const*>(params.rows) + column, params.columns, params.term_rows + first,
                       weights == nullptr ? nullptr : weights + first, params.term_begin[sum + 1] - first, sums);
    Out* const output = static_cast<Out*>(params.output) + sum * params.columns + column;
#pragma unroll
    for (int c = 0; c < kPack<T>; ++c) output[c] = Step::template finish<Out>(sums[c]);
  }
}

/// As sum_packs_kernel, with the sums stored 16 bytes at a time.
template <typename T, typename Step>
__global__ void sum_equal_packs_kernel(SumRowsParams params) {
  using Weight = typename Step::Weight;
  std::int64_t const column = first_item() * kPack<T>;
  if (column >= params.columns) return;
  for (std::int64_t sum = first_sum(); sum < params.num_sums; sum += sum_stride()) {
    std::int64_t const first = params.term_begin[sum];
    auto const* const weights = static_cast<Weight const*>(params.weights);
    typename Step::Sum sums[kPack<T>] = {};
    add_terms<T, Step>(static_cast<T const*>(params.rows) + column, params.columns, params.term_rows + first,
                       weights == nullptr ? nullptr : weights + first, params.term_begin[sum + 1] - first, sums);
    Pack<T> stored;
#pragma unroll
    for (int c = 0; c < kPack<T>; ++c) stored.value[c] = Step::template finish<T>(sums[c]);
    __stcs(reinterpret_cast<uint4*>(static_cast<T*>(params.output) + sum * params.columns + column),
           __builtin_bit_cast(uint4, stored));
  }
}

#ifdef __CUDACC__  // launches; tests run the code above on the host
template <typename T, typename Out, typename Step>
void launch(SumRowsParams const& params, StreamView stream) {
  std::int64_t const items = params.num_sums * params.columns;
  if (!packs_fit<T>(params.columns, params.rows, params.output)) {
    sum_columns_kernel<T, Out, Step><<<grid_blocks(items), kBlockThreads, 0, stream.handle()>>>(params);
  } else {
    auto const [grid, block] = pack_grid(params.num_sums, params.columns / kPack<T>);
    if constexpr (sizeof(T) == sizeof(Out) && kSameType<T, Out>) {
      sum_equal_packs_kernel<T, Step><<<grid, block, 0, stream.handle()>>>(params);
    } else {
      sum_packs_kernel<T, Out, Step><<<grid, block, 0, stream.handle()>>>(params);
    }
  }
  check_launch("sum_rows");
}

template <typename Step>
void launch_products(SumRowsParams const& params, StreamView stream) {
  by_row_dtype(params.row_dtype, [&](auto row) {
    using T = decltype(row);
    if (params.out_dtype == params.row_dtype) return launch<T, T, Step>(params, stream);
    if (params.out_dtype == DType::f32) return launch<T, float, Step>(params, stream);
    if (params.out_dtype == DType::bf16) return launch<T, bf16_t, Step>(params, stream);
    throw_unsupported_dtype("a sum of products", params.out_dtype);
  });
}

void launch_join_f32(SumRowsParams const& params, StreamView stream) {
  using Step = hd::JoinPartials<float>;
  by_row_dtype(params.out_dtype, [&](auto row) {
    using T = decltype(row);
    if (params.row_dtype == params.out_dtype) return launch<T, T, Step>(params, stream);
    if (params.row_dtype == DType::f32) return launch<float, T, Step>(params, stream);
    if (params.row_dtype == DType::bf16) return launch<bf16_t, T, Step>(params, stream);
    throw_unsupported_dtype("a join of partials", params.row_dtype);
  });
}
#endif

}  // namespace

#ifdef __CUDACC__  // launches; tests run the code above on the host
void launch_sum_rows(SumStep step, SumRowsParams const& params, StreamView stream) {
  if (params.num_sums <= 0 || params.columns <= 0) return;
  switch (step) {
    case SumStep::fp32_product: return launch_products<hd::Fp32Product>(params, stream);
    case SumStep::row_product:
      return by_row_dtype(params.row_dtype,
                          [&](auto row) { launch<decltype(row), decltype(row), hd::RowProduct>(params, stream); });
    case SumStep::fp64_product:
      return by_row_dtype(params.row_dtype,
                          [&](auto row) { launch<decltype(row), double, hd::Fp64Product>(params, stream); });
    case SumStep::join_f32: return launch_join_f32(params, stream);
    case SumStep::join_f64:
      return by_row_dtype(params.out_dtype,
                          [&](auto row) { launch<double, decltype(row), hd::JoinPartials<double>>(params, stream); });
  }
}
#endif

}  // namespace switchyard::cuda
