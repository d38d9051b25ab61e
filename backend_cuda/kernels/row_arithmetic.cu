// SPDX-License-Identifier: Apache-2.0
// What stands around the sums: weights in the order of their terms, joins of TP partials, shared experts, gradients.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "grid_stride.cuh"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/tree_sum.hpp"
#include "widen_at.cuh"

namespace switchyard::cuda {

namespace {

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

template <typename T>
__global__ void tree_sum_kernel(TreeSumParams params) {
  for (std::int64_t i = first_item(); i < params.elements; i += item_stride()) {
    hd::tree_sum_in_place(params.partials + i, params.elements, params.terms, 1);
    static_cast<T*>(params.output)[i] = hd::narrow<T>(with_bias(params.bias, i, params.partials[i]));
  }
}

template <typename T>
__global__ void add_shared_kernel(T* sums, T const* shared, std::int64_t elements) {
  for (std::int64_t i = first_item(); i < elements; i += item_stride())
    sums[i] = hd::add_shared_expert(sums[i], shared[i]);
}

template <typename T>
__global__ void weigh_rows_kernel(SourceRowsParams params, T const* gradients, float const* weights, T* output) {
  for (std::int64_t i = first_item(); i < params.count * params.columns; i += item_stride()) {
    std::int64_t const entry = i / params.columns;
    std::int64_t const column = i % params.columns;
    if (params.rows[entry] < 0) continue;
    output[params.rows[entry] * params.columns + column] =
        hd::RowProduct::product(weights[entry], gradients[params.tokens[entry] * params.columns + column]);
  }
}

/// One warp per entry: lane32 as hd/lane_sum.hpp defines it, the tree by shuffles.
template <typename T>
__global__ void dot_rows_kernel(SourceRowsParams params, T const* gradients, T const* results, float* output) {
  std::int64_t const lane = threadIdx.x % hd::kSumLanes;
  for (std::int64_t entry = first_item() / hd::kSumLanes; entry < params.count;
       entry += item_stride() / hd::kSumLanes) {
    if (params.rows[entry] < 0) continue;
    T const* const result = results + params.rows[entry] * params.columns;
    T const* const gradient = gradients + params.tokens[entry] * params.columns;
    float sum = 0;
    for (std::int64_t c = lane; c < params.columns; c += hd::kSumLanes)
      sum = hd::add_rn(sum, hd::mul_rn(hd::widen(result[c]), hd::widen(gradient[c])));
    for (int distance = hd::kSumLanes / 2; distance > 0; distance /= 2)
      sum = hd::add_rn(sum, __shfl_xor_sync(0xffffffffu, sum, distance));
    if (lane == 0) output[params.weight_index[entry]] = hd::canonical(sum);
  }
}

}  // namespace

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
  by_row_dtype(params.out_dtype, [&](auto row) {
    tree_sum_kernel<decltype(row)><<<grid_blocks(params.elements), kBlockThreads, 0, stream.handle()>>>(params);
  });
  check_launch("tree_sum_kernel");
}

void launch_add_shared(void* sums, void const* shared, std::int64_t elements, DType dtype, StreamView stream) {
  if (elements <= 0) return;
  by_row_dtype(dtype, [&](auto row) {
    using T = decltype(row);
    add_shared_kernel<<<grid_blocks(elements), kBlockThreads, 0, stream.handle()>>>(
        static_cast<T*>(sums), static_cast<T const*>(shared), elements);
  });
  check_launch("add_shared_kernel");
}

void launch_weigh_rows(SourceRowsParams const& params, void const* gradients, float const* weights, void* output,
                       StreamView stream) {
  if (params.count <= 0 || params.columns <= 0) return;
  by_row_dtype(params.dtype, [&](auto row) {
    using T = decltype(row);
    weigh_rows_kernel<<<grid_blocks(params.count * params.columns), kBlockThreads, 0, stream.handle()>>>(
        params, static_cast<T const*>(gradients), weights, static_cast<T*>(output));
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

}  // namespace switchyard::cuda
