// SPDX-License-Identifier: Apache-2.0
// Sums of the fused path: a token's rows of one rank into a slot of its source, and the partials of all ranks at home.
// The arithmetic and its order are those of sum_rows.cu; only the addresses differ.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "fused_window.cuh"
#include "grid_stride.cuh"
#include "sum_packs.cuh"
#include "switchyard/hd/recipes.hpp"

namespace switchyard::cuda {

namespace {

template <typename T, typename Step>
__device__ void store_sums(typename Step::Sum const* sums, T* to) {
  Pack<T> stored;
#pragma unroll
  for (int c = 0; c < kPack<T>; ++c) stored.value[c] = Step::template finish<T>(sums[c]);
  *reinterpret_cast<uint4*>(to) = __builtin_bit_cast(uint4, stored);
}

template <typename T>
__global__ void fused_partials_kernel(FusedPartialParams params) {
  FusedWindows const& windows = params.windows;
  std::uint64_t const generation = writing(windows);
  std::int64_t const packs = params.columns / kPack<T>;
  for (std::int64_t i = first_item(); i < params.num_sums * packs; i += item_stride()) {
    std::int64_t const sum = params.order[i / packs];
    std::int64_t const column = i % packs * kPack<T>;
    std::int64_t const first = params.term_begin[sum];
    float sums[kPack<T>] = {};
    add_terms<T, hd::Fp32Product>(static_cast<T const*>(params.rows) + column, params.columns, params.term_rows + first,
                                  params.weights + first, params.term_begin[sum + 1] - first, sums);
    std::byte* const slot = slots_of(windows, windows.peers[params.to[sum]], generation) +
                            static_cast<std::int64_t>(params.slots[sum]) * windows.slot_bytes;
    store_sums<T, hd::Fp32Product>(sums, reinterpret_cast<T*>(slot) + column);
  }
}

template <typename T>
__global__ void fused_join_kernel(FusedJoinParams params) {
  using Step = hd::JoinPartials<float>;
  FusedWindows const& windows = params.windows;
  bool const failed = has_failed(windows);
  std::int64_t const packs = params.columns / kPack<T>;
  auto const* const slots = reinterpret_cast<T const*>(slots_of(windows, windows.own, reading(windows)));
  std::int64_t const stride = windows.slot_bytes / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = first_item(); i < params.num_tokens * packs; i += item_stride()) {
    std::int64_t const token = i / packs;
    std::int64_t const column = i % packs * kPack<T>;
    std::int64_t const first = params.term_begin[token];
    float sums[kPack<T>] = {};
    if (!failed)
      add_terms<T, Step>(slots + column, stride, params.term_slots + first, nullptr,
                         params.term_begin[token + 1] - first, sums);
    store_sums<T, Step>(sums, static_cast<T*>(params.output) + token * params.columns + column);
  }
}

}  // namespace

void load_fused_sums() {
  cudaFuncAttributes attributes{};
  for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
    by_row_dtype(dtype, [&](auto row) {
      using T = decltype(row);
      void const* const partials = reinterpret_cast<void const*>(&fused_partials_kernel<T>);
      void const* const join = reinterpret_cast<void const*>(&fused_join_kernel<T>);
      SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, partials));
      SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, join));
    });
}

void launch_fused_partials(FusedPartialParams const& params, StreamView stream) {
  if (params.num_sums <= 0 || params.columns <= 0) return;
  by_row_dtype(params.dtype, [&](auto row) {
    using T = decltype(row);
    fused_partials_kernel<T>
        <<<grid_blocks(params.num_sums * params.columns / kPack<T>), kBlockThreads, 0, stream.handle()>>>(params);
  });
  check_launch("fused_partials_kernel");
}

void launch_fused_join(FusedJoinParams const& params, StreamView stream) {
  if (params.num_tokens <= 0 || params.columns <= 0) return;
  by_row_dtype(params.dtype, [&](auto row) {
    using T = decltype(row);
    fused_join_kernel<T>
        <<<grid_blocks(params.num_tokens * params.columns / kPack<T>), kBlockThreads, 0, stream.handle()>>>(params);
  });
  check_launch("fused_join_kernel");
}

}  // namespace switchyard::cuda
