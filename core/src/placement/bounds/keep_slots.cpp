// SPDX-License-Identifier: Apache-2.0
#include "keep_slots.hpp"

#include <cstddef>
#include <vector>

namespace switchyard::placement {

void place_contents(std::span<ExpertId const> current, std::span<ExpertId const> contents, std::span<ExpertId> slots) {
  std::vector<bool> used(contents.size(), false);
  std::vector<bool> filled(slots.size(), false);
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    for (std::size_t i = 0; i < contents.size() && slot < current.size() && !filled[slot]; ++i) {
      if (!used[i] && contents[i] == current[slot]) {
        used[i] = filled[slot] = true;
        slots[slot] = contents[i];
      }
    }
  }
  std::size_t next = 0;
  for (std::size_t i = 0; i < contents.size(); ++i) {
    if (!used[i]) {
      while (filled[next]) {
        ++next;
      }
      filled[next] = true;
      slots[next] = contents[i];
    }
  }
}

}  // namespace switchyard::placement
