// SPDX-License-Identifier: Apache-2.0
/// CombineSums: the sums of a combine. Their arithmetic and its order are those of sum_rows.cu; only the addresses
/// differ.
#pragma once

#include <cstdint>

#include "fused_window.cuh"
#include "sum_packs.cuh"
#include "switchyard/hd/recipes.hpp"

namespace switchyard::cuda {

template <typename T>
class CombineSums {
 public:
  __device__ explicit CombineSums(FusedCombineParams const& params)
      : params_(params), packs_(params.columns / kPack<T>) {}

  [[nodiscard]] __device__ std::int64_t packs() const { return packs_; }

  /// This rank's sum of one received row's token, rounded to the rows' type as if it travelled.
  __device__ Pack<T> partial_of(FusedTerms const& terms, std::int64_t pack) const {
    float sums[kPack<T>] = {};
    add_terms<T, hd::Fp32Product>(static_cast<T const*>(params_.rows) + pack * kPack<T>, params_.columns,
                                  params_.places + terms.begin, params_.term_weights + terms.begin,
                                  terms.end - terms.begin, sums);
    return finished<hd::Fp32Product>(sums);
  }

  /// A row that came.
  __device__ Pack<T> value_of(std::int32_t slot, std::int64_t pack, std::uint64_t generation) const {
    FusedWindows const& windows = params_.call.windows;
    return load_pack(reinterpret_cast<T const*>(slot_of(windows, windows.own, generation, slot)) + pack * kPack<T>);
  }

  /// Calls value_of(slot) for the join's slots [begin, end). A value is fetched before the one in front of it is added,
  /// so that a slot is loaded while the own sum is made.
  template <typename ValueOf>
  __device__ Pack<T> joined(std::int32_t begin, std::int32_t end, ValueOf const& value_of) const {
    using Step = hd::JoinPartials<float>;
    float sums[kPack<T>] = {};
    Pack<T> value{};
    for (std::int32_t k = begin; k <= end; ++k) {
      Pack<T> const next = k < end ? value_of(params_.join_slots[k]) : Pack<T>{};
#pragma unroll
      for (int c = 0; c < kPack<T>; ++c)
        if (k > begin) sums[c] = Step::add(sums[c], 1.0f, value.value[c]);
      value = next;
    }
    return finished<Step>(sums);
  }

 private:
  template <typename Step>
  __device__ static Pack<T> finished(float const (&sums)[kPack<T>]) {
    Pack<T> pack;
#pragma unroll
    for (int c = 0; c < kPack<T>; ++c) pack.value[c] = Step::template finish<T>(sums[c]);
    return pack;
  }

  FusedCombineParams const& params_;
  std::int64_t packs_;
};

}  // namespace switchyard::cuda
