// SPDX-License-Identifier: Apache-2.0
// Combine of the fused path: a peer's token is summed over its rows here and stored to a slot at home; an own token
// joins what came for it with the sum over its own rows. The arithmetic and its order are those of sum_rows.cu; only
// the addresses differ.
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "fused_duplex.cuh"
#include "fused_grid.cuh"
#include "sum_packs.cuh"
#include "switchyard/hd/recipes.hpp"

namespace switchyard::cuda {

namespace {

template <typename T>
class CombineWork {
 public:
  __device__ explicit CombineWork(FusedCombineParams const& params)
      : params_(params), packs_(params.columns / kPack<T>), num_remote_(count_of(params.remote)) {}

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
    std::int64_t const row = params_.remote.row[i];
    for (std::int64_t pack = threadIdx.x; pack < packs_; pack += blockDim.x)
      slot[pack] = __builtin_bit_cast(uint4, partial_of(row, pack));
  }
  __device__ void release(std::int64_t i, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    store_release(tag_of(windows, windows.peers[params_.remote.from[i]], generation, params_.return_slot[i]),
                  generation);
  }

  __device__ void consume(std::int64_t token, std::uint64_t generation) const {
    uint4* const out = static_cast<uint4*>(params_.output) + token * packs_;
    std::int32_t const begin = params_.join_begin[token];
    std::int32_t const end = params_.join_begin[token + 1];
    for (std::int64_t pack = threadIdx.x; pack < packs_; pack += blockDim.x)
      __stcs(out + pack, __builtin_bit_cast(uint4, joined(begin, end, pack, generation)));
  }

  __device__ void clear() const { store_zeros(params_.output, params_.num_tokens * packs_); }

 private:
  template <typename Step>
  __device__ static Pack<T> finished(float const (&sums)[kPack<T>]) {
    Pack<T> pack;
#pragma unroll
    for (int c = 0; c < kPack<T>; ++c) pack.value[c] = Step::template finish<T>(sums[c]);
    return pack;
  }

  /// This rank's sum of one received row's token, rounded to the rows' type as if it travelled.
  __device__ Pack<T> partial_of(std::int64_t row, std::int64_t pack) const {
    std::int64_t const first = params_.place_begin[row];
    float sums[kPack<T>] = {};
    add_terms<T, hd::Fp32Product>(static_cast<T const*>(params_.rows) + pack * kPack<T>, params_.columns,
                                  params_.places + first, params_.term_weights + first,
                                  params_.place_begin[row + 1] - first, sums);
    return finished<hd::Fp32Product>(sums);
  }

  /// What a slot of the join stands for: a row that came, or where negative the sum of this rank's row -1 - slot.
  __device__ Pack<T> value_of(std::int32_t slot, std::int64_t pack, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    if (slot < 0) return partial_of(-1 - slot, pack);
    return load_pack(reinterpret_cast<T const*>(slot_of(windows, windows.own, generation, slot)) + pack * kPack<T>);
  }

  /// A value is fetched before the one in front of it is added, so that a slot is loaded while the own sum is made.
  __device__ Pack<T> joined(std::int32_t begin, std::int32_t end, std::int64_t pack, std::uint64_t generation) const {
    using Step = hd::JoinPartials<float>;
    float sums[kPack<T>] = {};
    Pack<T> value{};
    for (std::int32_t k = begin; k <= end; ++k) {
      Pack<T> const next = k < end ? value_of(params_.join_slots[k], pack, generation) : Pack<T>{};
#pragma unroll
      for (int c = 0; c < kPack<T>; ++c)
        if (k > begin) sums[c] = Step::add(sums[c], 1.0f, value.value[c]);
      value = next;
    }
    return finished<Step>(sums);
  }

  FusedCombineParams const& params_;
  std::int64_t packs_;
  std::int64_t num_remote_;
};

/// Four blocks to a multiprocessor: with three, waits for memory show; with five, registers spill.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads, 4) fused_combine_kernel(FusedCombineParams const params) {
  run_duplex(params.call, CombineWork<T>(params));
}
/// For few rows: a thread has a pack of a row or two.
template <typename T>
__global__ void __launch_bounds__(kWideThreads) fused_combine_wide_kernel(FusedCombineParams const params) {
  run_duplex(params.call, CombineWork<T>(params));
}

}  // namespace

void load_fused_combine() {
  for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
    by_row_dtype(dtype, [](auto row) {
      load_kernel(reinterpret_cast<void const*>(&fused_combine_kernel<decltype(row)>));
      load_kernel(reinterpret_cast<void const*>(&fused_combine_wide_kernel<decltype(row)>));
    });
}

void launch_fused_combine(FusedCombineParams const& params, StreamView stream) {
  by_row_dtype(params.dtype, [&](auto row) {
    using T = decltype(row);
    launch_duplex(&fused_combine_kernel<T>, &fused_combine_wide_kernel<T>, params, params.columns / kPack<T>,
                  params.num_tokens + params.remote.count, stream);
  });
  check_launch("fused_combine_kernel");
}

}  // namespace switchyard::cuda
