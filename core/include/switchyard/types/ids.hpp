// SPDX-License-Identifier: Apache-2.0
/// Strong ids: a rank, an expert and a slot are all small integers, and must never be mixed up.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "switchyard/types/host_device.hpp"

namespace switchyard {

/// An integer that only converts to and from its representation explicitly. Usable in kernels.
template <typename Tag, typename Rep = std::int32_t>
class StrongId {
 public:
  using rep = Rep;

  constexpr StrongId() = default;
  SWITCHYARD_HD constexpr explicit StrongId(Rep value) : value_(value) {}

  [[nodiscard]] SWITCHYARD_HD constexpr Rep value() const { return value_; }
  /// For subscripting: a negative id becomes a huge index, which checked containers refuse.
  [[nodiscard]] SWITCHYARD_HD constexpr std::size_t index() const { return static_cast<std::size_t>(value_); }
  [[nodiscard]] SWITCHYARD_HD constexpr bool valid() const { return value_ >= 0; }

  SWITCHYARD_HD constexpr StrongId& operator++() {
    ++value_;
    return *this;
  }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;

 private:
  Rep value_{};
};

/// A rank of the group at hand, in [0, world).
using RankId = StrongId<struct RankTag>;
/// A node (host) of the cluster.
using NodeId = StrongId<struct NodeTag>;
/// A logical expert of one layer; -1 = none (an empty slot, a dropped choice).
using ExpertId = StrongId<struct ExpertTag>;
/// A physical expert slot, numbered over all ranks of the group: rank 0's rows first.
using SlotId = StrongId<struct SlotTag>;
/// A slot counted from its own rank's first slot (the field also says "local expert").
using LocalExpertId = StrongId<struct LocalExpertTag>;
/// A token of one rank, 64-bit because tokens times hidden passes 2^31 in practice.
using TokenIndex = StrongId<struct TokenTag, std::int64_t>;

inline constexpr ExpertId kNoExpert{-1};

}  // namespace switchyard

template <typename Tag, typename Rep>
struct std::hash<switchyard::StrongId<Tag, Rep>> {
  std::size_t operator()(switchyard::StrongId<Tag, Rep> id) const noexcept { return std::hash<Rep>{}(id.value()); }
};
