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
  template <typename Term>
  SWITCHYARD_HD float sum(std::int64_t count, Term const& term) const noexcept {
    auto const size = static_cast<std::int32_t>(count);
    PerLane<float> sums;
    Lanes::run([&](int lane) {
      float own = 0.0f;
      for (std::int32_t i = lane; i < size; i += kSumLanes) own = add_rn(own, term(i));
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
      std::int32_t const winner = first_of_largest(best);
      Lanes::run([&](int lane) {
        if (lane != winner % kSumLanes) return;
        take(rank, winner);
        best[lane] = next_of_lane(keys, count, lane, best[lane]);
      });
    }
  }

 private:
  /// In the order of the choice: key descending, then index ascending.
  struct Candidate {
    std::uint32_t key;
    std::int32_t index;
  };

  /// The lane's best behind `last` in that order. Without one, key 0.
  SWITCHYARD_HD static Candidate next_of_lane(std::uint32_t const* keys, std::int32_t count, int lane,
                                              Candidate last) noexcept {
    Candidate best{0, -1};
    for (std::int32_t i = lane; i < count; i += kSumLanes) {
      std::uint32_t const key = keys[i];
      bool const is_behind = key < last.key || (key == last.key && i > last.index);
      if (is_behind && key > best.key) best = {key, i};
    }
    return best;
  }

  /// The lowest index among the lanes' candidates of the largest key.
  SWITCHYARD_HD static std::int32_t first_of_largest(PerLane<Candidate>& best) noexcept {
    PerLane<std::uint32_t> offered;
    Lanes::run([&](int lane) { offered[lane] = best[lane].key; });
    std::uint32_t const key = Lanes::largest(offered);
    Lanes::run([&](int lane) {
      offered[lane] = best[lane].key == key ? static_cast<std::uint32_t>(best[lane].index) : 0xffffffffu;
    });
    return static_cast<std::int32_t>(Lanes::smallest(offered));
  }
};

}  // namespace switchyard::hd
