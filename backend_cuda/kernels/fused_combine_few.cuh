// SPDX-License-Identifier: Apache-2.0
/// FewCombine: what FewRows does with the rows of a combine. A thread has a pack of columns, or one every so often; the
/// own partial sum of the first is made while the peers' travel.
#pragma once

#include "fused_combine_sums.cuh"
#include "fused_few.cuh"
#include "plan_tile.cuh"

namespace switchyard::cuda {

template <typename T>
class FewCombine {
 public:
  __device__ FewCombine(FusedCombineParams const& params, FewShared const& shared)
      : params_(params),
        windows_(params.call.windows),
        shared_(shared),
        sums_(params),
        num_remote_(count_of(params.remote)),
        thread_(threadIdx.x) {}

  [[nodiscard]] __device__ std::int64_t num_produce() const { return num_remote_; }
  [[nodiscard]] __device__ std::int64_t num_consume() const { return params_.num_tokens; }

  __device__ void look_at_produced(std::int64_t i) {
    if (i >= params_.remote.count) return;
    terms_ = params_.remote.terms[i];
    from_ = params_.remote.from[i];
    return_slot_ = params_.return_slot[i];
  }
  __device__ void look_at_consumed(std::int64_t token) {
    if (token >= params_.num_tokens) return;
    join_ = params_.join_begin[token];
    join_end_ = params_.join_begin[token + 1];
    own_ = params_.own_terms[token];
  }

  __device__ void send(std::int64_t, std::uint64_t generation) {
    fetch_terms(terms_);
    auto* const slot = reinterpret_cast<uint4*>(slot_of(windows_, shared_.peers[from_], generation, return_slot_));
    for_packs([&](std::int64_t pack) { slot[pack] = __builtin_bit_cast(uint4, sums_.partial_of(terms_, pack)); });
  }
  [[nodiscard]] __device__ std::uint64_t* tag(std::int64_t i, std::uint64_t generation) const {
    if (lane_of_courier() != 0) return nullptr;
    return tag_of(windows_, shared_.peers[params_.remote.from[i]], generation, params_.return_slot[i]);
  }
  __device__ void keep(std::int64_t) const {}

  __device__ void expect(std::int64_t) {
    fetch_terms(own_);
    std::int32_t const joined = join_ + lane_of_thread();
    if (joined < join_end_) await_loads(params_.join_slots[joined], 0.0F);
    if (own_.begin < own_.end && thread_ < sums_.packs()) own_sum_ = sums_.partial_of(own_, thread_);
  }
  [[nodiscard]] __device__ std::int32_t slot(std::int64_t token) const {
    std::int64_t const k = params_.join_begin[token] + lane_of_courier();
    return k < params_.join_begin[token + 1] ? params_.join_slots[k] : -1;
  }
  __device__ void consume(std::int64_t token, std::uint64_t generation) {
    uint4* const out = static_cast<uint4*>(params_.output) + token * sums_.packs();
    for_packs([&](std::int64_t pack) {
      auto const value_of = [&](std::int32_t slot) {
        if (slot >= 0) return sums_.value_of(slot, pack, generation);
        return pack == thread_ ? own_sum_ : sums_.partial_of(own_, pack);
      };
      __stcs(out + pack, __builtin_bit_cast(uint4, sums_.joined(join_, join_end_, value_of)));
    });
  }

  __device__ void clear() const { clear_combined(params_, sums_.packs()); }

 private:
  /// The lanes of a warp load a row's terms at once, so that its sum finds them near: it would wait for places, rows
  /// and weights one after the other.
  __device__ void fetch_terms(FusedTerms const& terms) const {
    std::int32_t const term = terms.begin + lane_of_thread();
    if (term < terms.end) await_loads(params_.places[term], params_.term_weights[term]);
  }
  template <typename Act>
  __device__ void for_packs(Act const& act) const {
    for (std::int64_t pack = thread_; pack < sums_.packs(); pack += workers_of_block()) act(pack);
  }

  FusedCombineParams const& params_;
  FusedWindows const& windows_;
  FewShared const& shared_;
  CombineSums<T> sums_;
  std::int64_t num_remote_;
  std::int64_t thread_;
  FusedTerms terms_{};
  std::int32_t from_ = 0;
  std::int32_t return_slot_ = 0;
  std::int32_t join_ = 0;
  std::int32_t join_end_ = 0;
  FusedTerms own_{};
  Pack<T> own_sum_{};
};

}  // namespace switchyard::cuda
