// SPDX-License-Identifier: Apache-2.0
/// Random expert moves for property tests, and the bridge between the library's plans and the oracle's plain lists.
#pragma once

#include <algorithm>
#include <vector>

#include "oracle/rebalance_oracle.hpp"
#include "support/property.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace support {

/// A move of several layers in plain integers.
struct MoveCase {
  int num_experts = 0;
  oracle::Ints slots_per_rank{};
  std::vector<oracle::Ints> before{};  // [layers][slots]
  std::vector<oracle::Ints> after{};

  [[nodiscard]] oracle::Move layer(std::size_t index) const { return {slots_per_rank, before[index], after[index]}; }
};

inline switchyard::ExpertPlacement to_placement(int num_experts, oracle::Ints const& slots_per_rank,
                                                std::vector<oracle::Ints> const& layers) {
  std::vector<switchyard::ExpertId> ids;
  for (auto const& layer : layers)
    for (int const id : layer) ids.emplace_back(id);
  return {static_cast<int>(layers.size()), num_experts, switchyard::SlotLayout(slots_per_rank), std::move(ids)};
}

inline switchyard::RebalancePlan plan_of(MoveCase const& move) {
  return switchyard::plan_rebalance(to_placement(move.num_experts, move.slots_per_rank, move.before),
                                    to_placement(move.num_experts, move.slots_per_rank, move.after));
}

inline oracle::RankTransfers plain(switchyard::RankTransfers const& lists) {
  oracle::RankTransfers out;
  for (auto const& s : lists.sends) out.sends.push_back({s.expert.value(), s.source_row.value(), s.to.value()});
  for (auto const& r : lists.receives) out.receives.push_back({r.expert.value(), r.target_row.value(), r.from.value()});
  for (auto const& c : lists.local_copies)
    out.local_copies.push_back({c.expert.value(), c.source_row.value(), c.target_row.value()});
  for (auto const& c : lists.duplicates)
    out.duplicates.push_back({c.expert.value(), c.source_row.value(), c.target_row.value()});
  return out;
}

inline std::vector<oracle::RankTransfers> plain(switchyard::LayerTransfers const& layer) {
  std::vector<oracle::RankTransfers> lists;
  for (auto const& rank : layer.ranks) lists.push_back(plain(rank));
  return lists;
}

inline oracle::Ints plain(std::vector<switchyard::SlotId> const& slots) {
  oracle::Ints out;
  for (auto const slot : slots) out.push_back(slot.value());
  return out;
}

/// Ids of a layer: experts with replicas and holes.
inline oracle::Ints random_slots(std::size_t slots, int num_experts) {
  return draw_list(slots, -1, num_experts);
}

/// What a layer may become: some slots keep their expert, the others get one that some slot had, or become empty.
inline oracle::Ints random_successor(oracle::Ints const& before) {
  if (before.empty()) return {};
  auto const slots = static_cast<int>(before.size());
  int const kept_percent = *rc::gen::element(0, 50, 90);
  auto const sources = draw_list(before.size(), -1, slots);
  auto const keep = draw_list(before.size(), 0, 100);
  oracle::Ints after = before;
  for (std::size_t slot = 0; slot < before.size(); ++slot)
    if (keep[slot] >= kept_percent) after[slot] = sources[slot] < 0 ? -1 : before[oracle::at(sources[slot])];
  return after;
}

/// Uneven layouts (ranks without slots included) when `uniform` is false.
inline MoveCase random_move(bool uniform = false) {
  MoveCase move;
  int const ranks = draw(1, 9);
  if (uniform)
    move.slots_per_rank.assign(oracle::at(ranks), draw(1, 6));
  else
    move.slots_per_rank = draw_list(oracle::at(ranks), 0, 6);
  auto const slots = oracle::at(oracle::first_slot(move.slots_per_rank, ranks));
  move.num_experts = draw(1, static_cast<int>(slots) + 2);
  int const layers = draw(1, 4);
  for (int layer = 0; layer < layers; ++layer) {
    move.before.push_back(random_slots(slots, move.num_experts));
    move.after.push_back(random_successor(move.before.back()));
  }
  return move;
}

}  // namespace support
