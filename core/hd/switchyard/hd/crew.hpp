// SPDX-License-Identifier: Apache-2.0
/// A crew: who computes one row together. Row functions take one, so that a loop on the CPU and the lanes of a GPU's
/// warp run the same source.
///
/// A crew has each(count, work): work(0), ..., work(count - 1), spread over its members, who all see what was written
/// when it returns; write(count, out, value): out[i] = value(i), where value(i) may read out[i] but no other element of
/// `out`, so that several are computed before the first is stored; sum(count, term): the lane32 sum; largest(count,
/// key): the largest of key(0), ..., key(count - 1) as std::int32_t. What the last two return is known to every member.
/// All members call the same functions in the same order. Crews also choose: choose_experts() in router_step.hpp and
/// router_lanes.hpp.
#pragma once

#include <cstdint>

#include "switchyard/hd/lane_sum.hpp"

namespace switchyard::hd {

/// A crew of one: plain loops, which vectorise on the CPU.
struct Alone {
  template <typename Work>
  SWITCHYARD_HD void each(std::int64_t count, Work const& work) const noexcept {
    for (std::int64_t i = 0; i < count; ++i) work(i);
  }
  template <typename T, typename Value>
  SWITCHYARD_HD void write(std::int64_t count, T* out, Value const& value) const noexcept {
    for (std::int64_t i = 0; i < count; ++i) out[i] = value(i);
  }
  template <typename Term>
  SWITCHYARD_HD float sum(std::int64_t count, Term const& term) const noexcept {
    return lane32_sum(count, term);
  }
  /// @param count >= 1
  template <typename Key>
  SWITCHYARD_HD std::int32_t largest(std::int64_t count, Key const& key) const noexcept {
    std::int32_t best = key(0);
    for (std::int64_t i = 1; i < count; ++i) {
      std::int32_t const next = key(i);
      best = next > best ? next : best;
    }
    return best;
  }
};

}  // namespace switchyard::hd
