// SPDX-License-Identifier: Apache-2.0
// The recipe `exact`: at the source by packs of columns, where sizes and addresses allow, or one thread per element; as
// wide accumulators at the experts' ranks and a join, one thread per element.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "grid_stride.cuh"
#include "pack_grid.cuh"
#include "sum_packs.cuh"
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

/// A sum in fp64 with what its certificate needs (hd/exact_sum_fast.hpp).
template <typename W>
struct CertifiedStep {
  using Weight = W;
  struct Sum {
    double sum = 0;
    double magnitude = 0;
  };
  static __device__ Weight weight_of(Weight const* weights, std::int64_t i) { return weights[i]; }
  template <typename T>
  static __device__ Sum add(Sum const& so_far, Weight weight, T x) {
    double const term = hd::product_in_double(weight, x);
    return {hd::add_rn(so_far.sum, term), hd::add_rn(so_far.magnitude, hd::magnitude_of(term))};
  }
};

/// hd::exact_element of a pack's columns. Those whose certificate fails are added again, exactly, after the store.
template <typename T, typename Weight>
__global__ void exact_packs_kernel(ExactSumParams params) {
  using Step = CertifiedStep<Weight>;
  SumRowsParams const& p = params.sum;
  auto const* const rows = static_cast<T const*>(p.rows);
  auto const* const shared = static_cast<T const*>(params.shared);
  std::int64_t const column = first_item() * kPack<T>;
  if (column >= p.columns) return;
  for (std::int64_t sum = first_sum(); sum < p.num_sums; sum += sum_stride()) {
    std::int64_t const first = p.term_begin[sum];
    std::int64_t const count = p.term_begin[sum + 1] - first;
    auto const* const weights = static_cast<Weight const*>(p.weights) + first;
    std::int64_t const place = sum * p.columns + column;
    typename Step::Sum sums[kPack<T>] = {};
    add_terms<T, Step>(rows + column, p.columns, p.term_rows + first, weights, count, sums);
    Pack<T> const added = shared == nullptr ? Pack<T>{} : load_pack(shared + place);
    Pack<T> rounded;
    unsigned uncertain = 0;
#pragma unroll
    for (int c = 0; c < kPack<T>; ++c) {
      if (shared != nullptr) sums[c] = Step::add(sums[c], Weight{1}, added.value[c]);
      rounded.value[c] = hd::narrow<T>(static_cast<float>(sums[c].sum));
      if (!hd::rounds_like_exact<T, Weight>(sums[c].sum, sums[c].magnitude, count + 1)) uncertain |= 1U << c;
    }
    T* const output = static_cast<T*>(p.output) + place;
    __stcs(reinterpret_cast<uint4*>(output), __builtin_bit_cast(uint4, rounded));
    for (; uncertain != 0; uncertain &= uncertain - 1) {
      int const c = __ffs(static_cast<int>(uncertain)) - 1;
      output[c] = hd::exact_element_wide<T>(rows, p.columns, column + c, p.term_rows + first, weights, count,
                                            shared == nullptr ? nullptr : shared + place + c);
    }
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

#ifdef __CUDACC__  // launches; tests run the code above on the host
void launch_exact_rows(ExactSumParams const& params, StreamView stream) {
  std::int64_t const items = params.sum.num_sums * params.sum.columns;
  if (items <= 0) return;
  by_types(params.sum.row_dtype, params.weights_f64, [&](auto row, auto weight) {
    using T = decltype(row);
    using Weight = decltype(weight);
    if (packs_fit<T>(params.sum.columns, params.sum.rows, params.sum.output, params.shared)) {
      auto const [grid, block] = pack_grid(params.sum.num_sums, params.sum.columns / kPack<T>);
      return exact_packs_kernel<T, Weight><<<grid, block, 0, stream.handle()>>>(params);
    }
    exact_rows_kernel<T, Weight><<<grid_blocks(items), kBlockThreads, 0, stream.handle()>>>(params);
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
#endif

}  // namespace switchyard::cuda
