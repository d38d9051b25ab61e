// SPDX-License-Identifier: Apache-2.0
// What stands around the sums: weights in the order of their terms, joins of TP partials, shared experts, gradients.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "grid_stride.cuh"
#include "row_words.cuh"
#include "sum_packs.cuh"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/tree_sum.hpp"
#include "widen_at.cuh"

namespace switchyard::cuda {

namespace {

/// What a thread takes at once: a Pack<T> of 16 bytes, or one element.
template <typename T>
struct Single {
  T value[1];
};
template <typename Value>
inline constexpr int kValues = static_cast<int>(sizeof(Value{}.value) / sizeof(Value{}.value[0]));

template <typename Value, typename T>
__device__ Value values_at(T const* from, std::int64_t i) {
  if constexpr (kValues<Value> == 1) {
    return {{from[i]}};
  } else {
    return __builtin_bit_cast(Value, reinterpret_cast<uint4 const*>(from)[i]);
  }
}
template <typename Value, typename T>
__device__ void store_values(T* to, std::int64_t i, Value const& values) {
  if constexpr (kValues<Value> == 1) {
    to[i] = values.value[0];
  } else {
    __stcs(reinterpret_cast<uint4*>(to) + i, __builtin_bit_cast(uint4, values));
  }
}

template <typename From, typename To>
__device__ To weight_as(From weight) {
  if constexpr (kSameType<From, To>) {
    return weight;
  } else {
    return hd::narrow_double<To>(weight);
  }
}

template <typename From, typename To>
__global__ void gather_weights_kernel(GatherWeightsParams params) {
  for (std::int64_t i = first_item(); i < params.count; i += item_stride()) {
    std::int64_t const index = params.index == nullptr ? i : params.index[i];
    From const weight = static_cast<From const*>(params.weights)[index];
    static_cast<To*>(params.output)[i] = weight_as<From, To>(weight);
    if (weight != weight && params.first_nan != nullptr)
      atomicMin(params.first_nan, static_cast<unsigned long long>(index));
  }
}

__device__ float with_bias(TreeBias const& bias, std::int64_t element, float sum) {
  if (bias.values == nullptr) return sum;
  std::int64_t const expert = bias.expert_of_row[element / bias.columns];
  return hd::add_rn(sum, widen_at(bias.values, bias.dtype, expert * bias.columns + element % bias.columns));
}

/// Terms whose count the compiler knows, so that a thread keeps them in registers; 0: any number, summed in memory.
template <typename T, int kTerms>
__global__ void tree_sum_kernel(TreeSumParams params) {
  for (std::int64_t i = first_item(); i < params.elements; i += item_stride()) {
    float sum = 0;
    if constexpr (kTerms == 0) {
      hd::tree_sum_in_place(params.partials + i, params.elements, params.terms, 1);
      sum = params.partials[i];
    } else {
      float terms[kTerms];
#pragma unroll
      for (int term = 0; term < kTerms; ++term) terms[term] = __ldcs(params.partials + term * params.elements + i);
      hd::tree_sum_in_place(terms, 1, kTerms, 1);
      sum = terms[0];
    }
    static_cast<T*>(params.output)[i] = hd::narrow<T>(with_bias(params.bias, i, sum));
  }
}

/// @tparam Value  Single<T> or Pack<T>; `count` of them
template <typename T, typename Value>
__global__ void add_shared_kernel(T* sums, T const* shared, std::int64_t count) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    auto left = values_at<Value>(sums, i);
    auto const right = values_at<Value>(shared, i);
#pragma unroll
    for (int c = 0; c < kValues<Value>; ++c) left.value[c] = hd::add_shared_expert(left.value[c], right.value[c]);
    store_values(sums, i, left);
  }
}

/// A group of threads per entry.
template <typename T, typename Value>
__global__ void weigh_rows_kernel(SourceRowsParams params, T const* gradients, float const* weights, T* output) {
  std::int64_t const values = params.columns / kValues<Value>;
  for (std::int64_t entry = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; entry < params.count;
       entry += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
    std::int64_t const row = params.rows[entry];
    if (row < 0) continue;
    T const* const gradient = gradients + params.tokens[entry] * params.columns;
    T* const to = output + row * params.columns;
    float const weight = weights[entry];
#pragma unroll 4
    for (std::int64_t i = threadIdx.x; i < values; i += blockDim.x) {
      auto products = values_at<Value>(gradient, i);
#pragma unroll
      for (int c = 0; c < kValues<Value>; ++c) products.value[c] = hd::RowProduct::product(weight, products.value[c]);
      store_values(to, i, products);
    }
  }
}

/// One warp per entry: lane32 as hd/lane_sum.hpp defines it, the tree by shuffles. Elements of a lane are loaded some
/// at a time and added in their order.
template <typename T>
__global__ void dot_rows_kernel(SourceRowsParams params, T const* gradients, T const* results, float* output) {
  constexpr int kInFlight = 8;
  std::int64_t const lane = threadIdx.x % hd::kSumLanes;
  for (std::int64_t entry = first_item() / hd::kSumLanes; entry < params.count;
       entry += item_stride() / hd::kSumLanes) {
    if (params.rows[entry] < 0) continue;
    T const* const result = results + params.rows[entry] * params.columns;
    T const* const gradient = gradients + params.tokens[entry] * params.columns;
    float sum = 0;
    for (std::int64_t first = lane; first < params.columns; first += kInFlight * hd::kSumLanes) {
      T left[kInFlight] = {};
      T right[kInFlight] = {};
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        std::int64_t const column = first + i * hd::kSumLanes;
        if (column >= params.columns) continue;
        left[i] = result[column];
        right[i] = gradient[column];
      }
#pragma unroll
      for (int i = 0; i < kInFlight; ++i)
        if (first + i * hd::kSumLanes < params.columns)
          sum = hd::add_rn(sum, hd::mul_rn(hd::widen(left[i]), hd::widen(right[i])));
    }
    for (int distance = hd::kSumLanes / 2; distance > 0; distance /= 2)
      sum = hd::add_rn(sum, __shfl_xor_sync(0xffffffffu, sum, distance));
    if (lane == 0) output[params.weight_index[entry]] = hd::canonical(sum);
  }
}

/// Calls launch(Value{}) for packs where columns and addresses allow them, else for single elements.
template <typename T, typename Launch>
void by_values(std::int64_t columns, void const* first, void const* second, Launch const& launch) {
  if (packs_fit<T>(columns, first, second)) return launch(Pack<T>{});
  launch(Single<T>{});
}

#ifdef __CUDACC__  // launches; tests run the code above on the host
template <typename T>
void launch_tree(TreeSumParams const& params, StreamView stream) {
  unsigned const blocks = grid_blocks(params.elements);
  switch (params.terms) {
    case 2: tree_sum_kernel<T, 2><<<blocks, kBlockThreads, 0, stream.handle()>>>(params); break;
    case 4: tree_sum_kernel<T, 4><<<blocks, kBlockThreads, 0, stream.handle()>>>(params); break;
    case 8: tree_sum_kernel<T, 8><<<blocks, kBlockThreads, 0, stream.handle()>>>(params); break;
    default: tree_sum_kernel<T, 0><<<blocks, kBlockThreads, 0, stream.handle()>>>(params);
  }
}
#endif

}  // namespace

#ifdef __CUDACC__  // launches; tests run the code above on the host
void launch_gather_weights(GatherWeightsParams const& params, StreamView stream) {
  if (params.count <= 0) return;
  unsigned const blocks = grid_blocks(params.count);
  if (params.weights_f64 && params.output_f64) {
    gather_weights_kernel<double, double><<<blocks, kBlockThreads, 0, stream.handle()>>>(params);
  } else if (params.weights_f64) {
    gather_weights_kernel<double, float><<<blocks, kBlockThreads, 0, stream.handle()>>>(params);
  } else {
    gather_weights_kernel<float, float><<<blocks, kBlockThreads, 0, stream.handle()>>>(params);
  }
  check_launch("gather_weights_kernel");
}

void launch_tree_sum(TreeSumParams const& params, StreamView stream) {
  if (params.elements <= 0) return;
  by_row_dtype(params.out_dtype, [&](auto row) { launch_tree<decltype(row)>(params, stream); });
  check_launch("tree_sum_kernel");
}

void launch_add_shared(void* sums, void const* shared, std::int64_t elements, DType dtype, StreamView stream) {
  if (elements <= 0) return;
  by_row_dtype(dtype, [&](auto row) {
    using T = decltype(row);
    by_values<T>(elements, sums, shared, [&](auto value) {
      using Value = decltype(value);
      std::int64_t const count = elements / kValues<Value>;
      add_shared_kernel<T, Value><<<grid_blocks(count), kBlockThreads, 0, stream.handle()>>>(
          static_cast<T*>(sums), static_cast<T const*>(shared), count);
    });
  });
  check_launch("add_shared_kernel");
}

void launch_weigh_rows(SourceRowsParams const& params, void const* gradients, float const* weights, void* output,
                       StreamView stream) {
  if (params.count <= 0 || params.columns <= 0) return;
  by_row_dtype(params.dtype, [&](auto row) {
    using T = decltype(row);
    by_values<T>(params.columns, gradients, output, [&](auto value) {
      using Value = decltype(value);
      dim3 const block = block_of_rows(params.columns / kValues<Value>);
      weigh_rows_kernel<T, Value><<<blocks_of_rows(params.count, block), block, 0, stream.handle()>>>(
          params, static_cast<T const*>(gradients), weights, static_cast<T*>(output));
    });
  });
  check_launch("weigh_rows_kernel");
}

void launch_dot_rows(SourceRowsParams const& params, void const* gradients, void const* results, float* output,
                     StreamView stream) {
  if (params.count <= 0) return;
  by_row_dtype(params.dtype, [&](auto row) {
    using T = decltype(row);
    dot_rows_kernel<<<grid_blocks(params.count * hd::kSumLanes), kBlockThreads, 0, stream.handle()>>>(
        params, static_cast<T const*>(gradients), static_cast<T const*>(results), output);
  });
  check_launch("dot_rows_kernel");
}
#endif

}  // namespace switchyard::cuda
