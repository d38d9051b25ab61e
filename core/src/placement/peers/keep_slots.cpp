// SPDX-License-Identifier: Apache-2.0
#include "keep_slots.hpp"

#include "switchyard/internal/to_size.hpp"

namespace switchyard::placement {

namespace {

void keep_slots(std::span<ExpertId const> before, std::span<ExpertId> after) {
  std::vector<ExpertId> const planned(after.begin(), after.end());
  std::vector<bool> used(planned.size(), false);
  std::vector<bool> kept(planned.size(), false);
  for (std::size_t slot = 0; slot < before.size(); ++slot) {
    for (std::size_t i = 0; i < planned.size() && !kept[slot]; ++i) {
      if (!used[i] && planned[i] == before[slot]) {
        after[slot] = planned[i];
        used[i] = kept[slot] = true;
      }
    }
  }
  std::size_t next = 0;
  for (std::size_t slot = 0; slot < planned.size(); ++slot) {
    if (kept[slot]) continue;
    while (used[next]) ++next;
    after[slot] = planned[next++];
  }
}

}  // namespace

void keep_all_slots(ExpertPlacement const& current, std::vector<ExpertId>& slots) {
  auto const per_rank = to_size(current.layout().uniform_slots());
  for (std::size_t first = 0; per_rank > 0 && first < slots.size(); first += per_rank) {
    keep_slots(current.slot_to_expert().subspan(first, per_rank), std::span(slots).subspan(first, per_rank));
  }
}

}  // namespace switchyard::placement
