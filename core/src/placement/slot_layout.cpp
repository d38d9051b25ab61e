// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/slot_layout.hpp"

#include <algorithm>
#include <limits>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

constexpr std::int64_t kMaxSlots = std::numeric_limits<std::int32_t>::max();

void require_rank(SlotLayout const& layout, RankId rank) {
  SWITCHYARD_REQUIRE(rank.valid() && rank.value() < layout.num_ranks(), invalid_argument,
                     "rank {} is outside [0, {}): the slot layout has no such rank", rank.value(), layout.num_ranks());
}

}  // namespace

SlotLayout::SlotLayout(std::vector<std::int32_t> const& slots_per_rank) {
  SWITCHYARD_REQUIRE(!slots_per_rank.empty(), invalid_argument, "a slot layout needs at least one rank, got none");
  first_slot_.reserve(slots_per_rank.size() + 1);
  std::int64_t total = 0;
  for (std::size_t rank = 0; rank < slots_per_rank.size(); ++rank) {
    SWITCHYARD_REQUIRE(slots_per_rank[rank] >= 0, invalid_argument,
                       "rank {} has {} slots: counts of slots must not be negative", rank, slots_per_rank[rank]);
    total += slots_per_rank[rank];
    SWITCHYARD_REQUIRE(total <= kMaxSlots, invalid_argument,
                       "the slots of ranks 0 to {} add up to {}, over the limit of {}", rank, total, kMaxSlots);
    first_slot_.push_back(static_cast<std::int32_t>(total));
  }
}

SlotLayout SlotLayout::uniform(int num_ranks, int slots_per_rank) {
  SWITCHYARD_REQUIRE(num_ranks >= 1, invalid_argument, "a slot layout needs at least one rank, got {}", num_ranks);
  return SlotLayout(std::vector<std::int32_t>(to_size(num_ranks), slots_per_rank));
}

SlotLayout SlotLayout::balanced(int num_ranks, int num_slots) {
  SWITCHYARD_REQUIRE(num_ranks >= 1, invalid_argument, "a slot layout needs at least one rank, got {}", num_ranks);
  SWITCHYARD_REQUIRE(num_slots >= 0, invalid_argument, "{} slots: counts of slots must not be negative", num_slots);
  std::vector<std::int32_t> counts(to_size(num_ranks), num_slots / num_ranks);
  std::for_each(counts.begin(), counts.begin() + num_slots % num_ranks, [](std::int32_t& count) { ++count; });
  return SlotLayout(counts);
}

int SlotLayout::slots_of(RankId rank) const {
  require_rank(*this, rank);
  return first_slot_[rank.index() + 1] - first_slot_[rank.index()];
}

SlotId SlotLayout::first_slot(RankId rank) const {
  require_rank(*this, rank);
  return SlotId(first_slot_[rank.index()]);
}

RankId SlotLayout::rank_of(SlotId slot) const {
  SWITCHYARD_REQUIRE(slot.valid() && slot.value() < num_slots(), invalid_argument,
                     "slot {} is outside [0, {}): the slot layout has no such slot", slot.value(), num_slots());
  auto const after = std::upper_bound(first_slot_.begin(), first_slot_.end(), slot.value());
  return RankId(static_cast<std::int32_t>(after - first_slot_.begin()) - 1);
}

LocalExpertId SlotLayout::local_of(SlotId slot) const {
  return LocalExpertId(slot.value() - first_slot_[rank_of(slot).index()]);
}

int SlotLayout::uniform_slots() const noexcept {
  if (num_ranks() < 1) {
    return -1;
  }
  int const common = first_slot_[1];
  for (std::size_t rank = 1; rank + 1 < first_slot_.size(); ++rank) {
    if (first_slot_[rank + 1] - first_slot_[rank] != common) {
      return -1;
    }
  }
  return common;
}

}  // namespace switchyard
