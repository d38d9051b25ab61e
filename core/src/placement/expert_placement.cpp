// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/expert_placement.hpp"

#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {

namespace {

// Field numbers of ExpertPlacement's fingerprint (docs/formats/plan.md).
constexpr std::uint32_t kFieldLayers = 1;
constexpr std::uint32_t kFieldExperts = 2;
constexpr std::uint32_t kFieldSlotsPerRank = 3;
constexpr std::uint32_t kFieldSlotToExpert = 4;

void require_sizes(int num_layers, int num_experts) {
  SWITCHYARD_REQUIRE(num_layers >= 0 && num_experts >= 0, invalid_argument,
                     "expert placement of {} layers and {} experts: sizes must not be negative", num_layers,
                     num_experts);
}

std::vector<ExpertId> repeat_layer(std::vector<ExpertId> const& one_layer, int num_layers) {
  std::vector<ExpertId> all;
  all.reserve(to_size(checked_mul(num_layers, static_cast<std::int64_t>(one_layer.size()))));
  for (int layer = 0; layer < num_layers; ++layer) {
    all.insert(all.end(), one_layer.begin(), one_layer.end());
  }
  return all;
}

/// One layer of round_robin(): whole passes over the experts, pass w starting w ranks later.
std::vector<ExpertId> deal_round_robin(int num_experts, SlotLayout const& layout) {
  std::vector<ExpertId> slots(to_size(layout.num_slots()), kNoExpert);
  std::vector<int> filled(to_size(layout.num_ranks()), 0);
  auto const ranks = static_cast<std::size_t>(layout.num_ranks());
  for (std::size_t dealt = 0; dealt < slots.size(); ++dealt) {
    auto const pass = dealt / to_size(num_experts);
    auto const expert = dealt % to_size(num_experts);
    std::size_t rank = (expert + pass) % ranks;
    while (filled[rank] == layout.slots_of(RankId(static_cast<std::int32_t>(rank)))) {
      rank = (rank + 1) % ranks;
    }
    auto const first = layout.first_slot(RankId(static_cast<std::int32_t>(rank))).value();
    slots[to_size(first + filled[rank]++)] = ExpertId(static_cast<std::int32_t>(expert));
  }
  return slots;
}

}  // namespace

ExpertPlacement::ExpertPlacement(int num_layers, int num_experts, SlotLayout layout,
                                 std::vector<ExpertId> slot_to_expert)
    : num_layers_(num_layers),
      num_experts_(num_experts),
      layout_(std::move(layout)),
      slot_to_expert_(std::move(slot_to_expert)) {
  require_sizes(num_layers, num_experts);
  auto const expected = checked_mul(num_layers, layout_.num_slots());
  SWITCHYARD_REQUIRE(slot_to_expert_.size() == to_size(expected), shape_mismatch,
                     "placement of {} layers x {} slots needs {} entries, got {}", num_layers, layout_.num_slots(),
                     expected, slot_to_expert_.size());
}

ExpertPlacement ExpertPlacement::contiguous(int num_layers, int num_experts, int num_ranks) {
  require_sizes(num_layers, num_experts);
  return trivial(num_layers, num_experts, SlotLayout::balanced(num_ranks, num_experts));
}

ExpertPlacement ExpertPlacement::trivial(int num_layers, int num_experts, SlotLayout const& layout) {
  require_sizes(num_layers, num_experts);
  std::vector<ExpertId> slots(to_size(layout.num_slots()), kNoExpert);
  for (std::size_t slot = 0; slot < slots.size() && num_experts > 0; ++slot) {
    slots[slot] = ExpertId(static_cast<std::int32_t>(slot % to_size(num_experts)));
  }
  return ExpertPlacement(num_layers, num_experts, layout, repeat_layer(slots, num_layers));
}

ExpertPlacement ExpertPlacement::round_robin(int num_layers, int num_experts, SlotLayout const& layout) {
  require_sizes(num_layers, num_experts);
  if (num_experts == 0) {
    return trivial(num_layers, num_experts, layout);
  }
  return ExpertPlacement(num_layers, num_experts, layout,
                         repeat_layer(deal_round_robin(num_experts, layout), num_layers));
}

std::span<ExpertId const> ExpertPlacement::layer(int layer) const {
  SWITCHYARD_REQUIRE(layer >= 0 && layer < num_layers_, invalid_argument,
                     "layer {} is outside [0, {}): the placement has no such layer", layer, num_layers_);
  auto const slots = to_size(num_slots());
  return std::span(slot_to_expert_).subspan(to_size(layer) * slots, slots);
}

std::span<ExpertId const> ExpertPlacement::rank_slots(int layer, RankId rank) const {
  auto const first = layout_.first_slot(rank).index();
  return this->layer(layer).subspan(first, to_size(layout_.slots_of(rank)));
}

ExpertId ExpertPlacement::expert_at(int layer, SlotId slot) const {
  SWITCHYARD_REQUIRE(slot.valid() && slot.value() < num_slots(), invalid_argument,
                     "slot {} is outside [0, {}): the placement has no such slot", slot.value(), num_slots());
  return this->layer(layer)[slot.index()];
}

Fingerprint ExpertPlacement::fingerprint() const {
  FingerprintBuilder builder;
  builder.add(kFieldLayers, num_layers_);
  builder.add(kFieldExperts, num_experts_);
  for (std::int32_t rank = 0; rank < num_ranks(); ++rank) {
    builder.add_at(kFieldSlotsPerRank, to_size(rank), layout_.slots_of(RankId(rank)));
  }
  for (std::size_t i = 0; i < slot_to_expert_.size(); ++i) {
    builder.add_at(kFieldSlotToExpert, i, slot_to_expert_[i].value());
  }
  return builder.result();
}

ReplicaTable::ReplicaTable(ExpertPlacement const& placement, int layer) {
  auto const slots = placement.layer(layer);
  offsets_.assign(to_size(placement.num_experts()) + 1, 0);
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    SWITCHYARD_REQUIRE(slots[slot].value() >= -1 && slots[slot].value() < placement.num_experts(), invalid_placement,
                       "slot {} of layer {} holds expert {}, outside [-1, {})", slot, layer, slots[slot].value(),
                       placement.num_experts());
    if (slots[slot].valid()) {
      ++offsets_[slots[slot].index() + 1];
    }
  }
  for (std::size_t expert = 1; expert < offsets_.size(); ++expert) {
    offsets_[expert] += offsets_[expert - 1];
  }
  slots_.resize(to_size(offsets_.back()));
  std::vector<std::int32_t> next(offsets_.begin(), offsets_.end() - 1);
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    if (slots[slot].valid()) {
      slots_[to_size(next[slots[slot].index()]++)] = SlotId(static_cast<std::int32_t>(slot));
    }
  }
}

std::span<SlotId const> ReplicaTable::replicas(ExpertId expert) const {
  SWITCHYARD_REQUIRE(expert.valid() && expert.value() < num_experts(), invalid_argument,
                     "expert {} is outside [0, {}): the placement has no such expert", expert.value(), num_experts());
  auto const first = to_size(offsets_[expert.index()]);
  return std::span(slots_).subspan(first, to_size(offsets_[expert.index() + 1]) - first);
}

}  // namespace switchyard
