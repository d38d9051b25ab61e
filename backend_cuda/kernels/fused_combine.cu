// SPDX-License-Identifier: Apache-2.0
// Combine of the fused path: a peer's token is summed over its rows here and stored to a slot at home; an own token
// joins what came for it with the sum over its own rows.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "fused_combine_few.cuh"
#include "fused_duplex.cuh"
#include "fused_grid.cuh"

namespace switchyard::cuda {

namespace {

template <typename T>
class CombineWork {
 public:
  __device__ explicit CombineWork(FusedCombineParams const& params)
      : params_(params), sums_(params), num_remote_(count_of(params.remote)) {}

  [[nodiscard]] __device__ std::int64_t num_produce() const { return num_remote_; }
  [[nodiscard]] __device__ std::int64_t num_consume() const { return params_.num_tokens; }
  __device__ std::int32_t const* slots(std::int64_t token, std::int64_t& count) const {
    count = params_.join_begin[token + 1] - params_.join_begin[token];
    return params_.join_slots + params_.join_begin[token];
  }

  __device__ void produce(std::int64_t i, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    auto* const slot = reinterpret_cast<uint4*>(
        slot_of(windows, windows.peers[params_.remote.from[i]], generation, params_.return_slot[i]));
    FusedTerms const terms = params_.remote.terms[i];
    for (std::int64_t pack = threadIdx.x; pack < sums_.packs(); pack += blockDim.x)
      slot[pack] = __builtin_bit_cast(uint4, sums_.partial_of(terms, pack));
  }
  __device__ void release(std::int64_t i, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    store_release(tag_of(windows, windows.peers[params_.remote.from[i]], generation, params_.return_slot[i]),
                  generation);
  }

  __device__ void consume(std::int64_t token, std::uint64_t generation) const {
    uint4* const out = static_cast<uint4*>(params_.output) + token * sums_.packs();
    std::int32_t const begin = params_.join_begin[token];
    std::int32_t const end = params_.join_begin[token + 1];
    for (std::int64_t pack = threadIdx.x; pack < sums_.packs(); pack += blockDim.x) {
      auto const value_of = [&](std::int32_t slot) {
        return slot < 0 ? sums_.partial_of(params_.own_terms[token], pack) : sums_.value_of(slot, pack, generation);
      };
      __stcs(out + pack, __builtin_bit_cast(uint4, sums_.joined(begin, end, value_of)));
    }
  }

  __device__ void clear() const { clear_combined(params_, sums_.packs()); }

 private:
  FusedCombineParams const& params_;
  CombineSums<T> sums_;
  std::int64_t num_remote_;
};

/// Four blocks to a multiprocessor: with three, waits for memory show; with five, registers spill.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads, 4) fused_combine_kernel(FusedCombineParams const params) {
  await_kernel_before();
  let_next_kernel_come();
  run_duplex(params.call, CombineWork<T>(params));
}
template <typename T>
__global__ void __launch_bounds__(kFewThreads) fused_combine_few_kernel(FusedCombineParams const params) {
  __shared__ FewShared shared;
  await_kernel_before();
  let_next_kernel_come();
  FewCombine<T> work(params, shared);
  FewRows<FewCombine<T>>(params.call, work, shared).run();
}

}  // namespace

void load_fused_combine() {
  for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
    by_row_dtype(dtype, [](auto row) {
      load_kernel(reinterpret_cast<void const*>(&fused_combine_kernel<decltype(row)>));
      load_kernel(reinterpret_cast<void const*>(&fused_combine_few_kernel<decltype(row)>));
    });
}

void launch_fused_combine(FusedCombineParams const& params, StreamView stream) {
  by_row_dtype(params.dtype, [&](auto row) {
    using T = decltype(row);
    launch_duplex("fused_combine_kernel", &fused_combine_kernel<T>, &fused_combine_few_kernel<T>, params,
                  {params.columns / kPack<T>, params.remote.count, params.num_tokens}, stream);
  });
}

}  // namespace switchyard::cuda
