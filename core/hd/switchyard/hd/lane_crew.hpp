// SPDX-License-Identifier: Apache-2.0
/// LaneCrew: the crew of 32 lanes, for rows of less than 2^31 - 32 elements. Element i of a row belongs to lane i % 32.
/// What 32 lanes are, the parameter says: the threads of a warp (backend_cuda/kernels/router_warp.cuh), or a loop in a
/// test (tests/support/emulated_lanes.hpp).
///
/// `Lanes` has PerLane<T>, a value of every lane, indexed by lane; run(work): work(lane) for every lane, after which
/// all see what was written; and reductions whose result every lane knows: sum() in lane32's tree, largest() of
/// std::int32_t or std::uint32_t, smallest() of std::uint32_t.
#pragma once

#include <cstdint>

#include "switchyard/hd/lane_sum.hpp"

namespace switchyard::hd {

template <typename Lanes>
struct LaneCrew {
  template <typename T>
  using PerLane = typename Lanes::template PerLane<T>;

  template <typename Work>
  SWITCHYARD_HD void each(std::int64_t count, Work const& work) const noexcept {
    auto const size = static_cast<std::int32_t>(count);
    Lanes::run([&](int lane) {
      for (std::int32_t i = lane; i < size; i += kSumLanes) work(i);
    });
  }
  template <typename T, typename Value>
  SWITCHYARD_HD void write(std::int64_t count, T* out, Value const& value) const noexcept {
    auto const size = static_cast<std::int32_t>(count);
    Lanes::run([&](int lane) {
      std::int32_t i = lane;
      for (; i + kBatchReach < size; i += kBatch * kSumLanes) {
        T const batch[kBatch] = {value(i), value(i + kSumLanes), value(i + 2 * kSumLanes), value(i + 3 * kSumLanes)};
        for (std::int32_t j = 0; j < kBatch; ++j) out[i + j * kSumLanes] = batch[j];
      }
      for (; i < size; i += kSumLanes) out[i] = value(i);
    });
  }
  template <typename Term>
  SWITCHYARD_HD float sum(std::int64_t count, Term const& term) const noexcept {
    auto const size = static_cast<std::int32_t>(count);
    PerLane<float> sums;
    Lanes::run([&](int lane) {
      float own = 0.0f;
      std::int32_t i = lane;
      for (; i + kBatchReach < size; i += kBatch * kSumLanes) {
        float const batch[kBatch] = {term(i), term(i + kSumLanes), term(i + 2 * kSumLanes), term(i + 3 * kSumLanes)};
        for (float const value : batch) own = add_rn(own, value);
      }
      for (; i < size; i += kSumLanes) own = add_rn(own, term(i));
      sums[lane] = own;
    });
    return Lanes::sum(sums);
  }
  /// @param count >= 1
  template <typename Key>
  SWITCHYARD_HD std::int32_t largest(std::int64_t count, Key const& key) const noexcept {
    auto const size = static_cast<std::int32_t>(count);
    PerLane<std::int32_t> best;
    Lanes::run([&](int lane) {
      std::int32_t own = key(lane < size ? lane : 0);
      for (std::int32_t i = lane + kSumLanes; i < size; i += kSumLanes) {
        std::int32_t const next = key(i);
        own = next > own ? next : own;
      }
      best[lane] = own;
    });
    return Lanes::largest(best);
  }

  /// The `k` largest of keys[0], ..., keys[count - 1], ties to the lower index: take(rank, index) for rank 0, ..., k
  /// - 1. Key 0 is no candidate; there are at least k others. `take` may clear the key it is given; others stay as they
  /// are.
  template <typename Take>
  SWITCHYARD_HD void take_largest(std::uint32_t const* keys, std::int32_t count, std::int32_t k,
                                  Take const& take) const noexcept {
    PerLane<Candidate> best;
    Lanes::run([&](int lane) { best[lane] = next_of_lane(keys, count, lane, Candidate{0xffffffffu, -1}); });
    for (std::int32_t rank = 0; rank < k; ++rank) {
      Candidate const winner = first_of(best);
      Lanes::run([&](int lane) {
        if (lane == winner.index % kSumLanes) take(rank, winner.index);
      });
      if (rank + 1 < k) replace(best, keys, count, winner);
    }
  }

 private:
  /// Elements that a lane computes side by side, and how far the last of them is from the first.
  static constexpr std::int32_t kBatch = 4;
  static constexpr std::int32_t kBatchReach = (kBatch - 1) * kSumLanes;

  /// In the order of the choice: key descending, then index ascending.
  struct Candidate {
    std::uint32_t key;
    std::int32_t index;
  };

  /// The best of keys[first], keys[first + step], ... behind `last` in that order. Without one, key 0.
  SWITCHYARD_HD static Candidate next_in(std::uint32_t const* keys, std::int32_t count, std::int32_t first,
                                         std::int32_t step, Candidate last) noexcept {
    Candidate best{0, -1};
    for (std::int32_t i = first; i < count; i += step) {
      std::uint32_t const key = keys[i];
      bool const is_behind = key < last.key || (key == last.key && i > last.index);
      if (is_behind && key > best.key) best = {key, i};
    }
    return best;
  }
  SWITCHYARD_HD static Candidate next_of_lane(std::uint32_t const* keys, std::int32_t count, int lane,
                                              Candidate last) noexcept {
    return next_in(keys, count, lane, kSumLanes, last);
  }

  /// The first of the lanes' candidates.
  SWITCHYARD_HD static Candidate first_of(PerLane<Candidate>& best) noexcept {
    PerLane<std::uint32_t> offered;
    Lanes::run([&](int lane) { offered[lane] = best[lane].key; });
    std::uint32_t const key = Lanes::largest(offered);
    Lanes::run([&](int lane) {
      offered[lane] = best[lane].key == key ? static_cast<std::uint32_t>(best[lane].index) : 0xffffffffu;
    });
    return {key, static_cast<std::int32_t>(Lanes::smallest(offered))};
  }

  /// Gives the lane whose candidate was taken its next one. It looks through a few elements by itself; through more,
  /// all lanes look, element j of its share by lane j % 32.
  SWITCHYARD_HD static void replace(PerLane<Candidate>& best, std::uint32_t const* keys, std::int32_t count,
                                    Candidate taken) noexcept {
    constexpr std::int32_t kFew = 4 * kSumLanes;
    std::int32_t const owner = taken.index % kSumLanes;
    if (count <= kFew) {
      Lanes::run([&](int lane) {
        if (lane == owner) best[lane] = next_of_lane(keys, count, lane, taken);
      });
      return;
    }
    PerLane<Candidate> found;
    Lanes::run(
        [&](int lane) { found[lane] = next_in(keys, count, owner + lane * kSumLanes, kSumLanes * kSumLanes, taken); });
    Candidate const next = first_of(found);
    Lanes::run([&](int lane) {
      if (lane == owner) best[lane] = next;
    });
  }
};

}  // namespace switchyard::hd
