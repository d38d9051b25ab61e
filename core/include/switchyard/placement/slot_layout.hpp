// SPDX-License-Identifier: Apache-2.0
/// SlotLayout: how many physical expert slots every rank has. Slots are numbered rank by rank.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/types/ids.hpp"

namespace switchyard {

/// Ranks may own different numbers of slots, zero included.
class SlotLayout {
 public:
  SlotLayout() = default;
  /// @param slots_per_rank one count per rank. @throws Error{invalid_argument} if empty, negative or over 2^31 slots.
  explicit SlotLayout(std::vector<std::int32_t> const& slots_per_rank);
  /// Every rank has the same number. @throws Error{invalid_argument} unless num_ranks >= 1 and slots_per_rank >= 0.
  [[nodiscard]] static SlotLayout uniform(int num_ranks, int slots_per_rank);
  /// `num_slots` over `num_ranks`, the first `num_slots mod num_ranks` ranks hold one more (DESIGN 4).
  [[nodiscard]] static SlotLayout balanced(int num_ranks, int num_slots);

  [[nodiscard]] int num_ranks() const noexcept { return static_cast<int>(first_slot_.size()) - 1; }
  [[nodiscard]] int num_slots() const noexcept { return first_slot_.back(); }
  /// Bounds below: @throws Error{invalid_argument} for a rank or slot outside the layout.
  [[nodiscard]] int slots_of(RankId rank) const;
  [[nodiscard]] SlotId first_slot(RankId rank) const;
  /// O(log ranks).
  [[nodiscard]] RankId rank_of(SlotId slot) const;
  [[nodiscard]] LocalExpertId local_of(SlotId slot) const;
  /// @return the common number of slots per rank, or -1 when ranks differ.
  [[nodiscard]] int uniform_slots() const noexcept;

  friend bool operator==(SlotLayout const&, SlotLayout const&) = default;

 private:
  std::vector<std::int32_t> first_slot_{0};  // ranks + 1 entries
};

}  // namespace switchyard
