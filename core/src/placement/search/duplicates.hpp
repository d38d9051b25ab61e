// SPDX-License-Identifier: Apache-2.0
/// Duplicates: slots that repeat an expert on their rank, and getting rid of them with few moves.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fetch_count.hpp"
#include "layer_state.hpp"
#include "move_path.hpp"

namespace switchyard::placement {

/// @return slots of live ranks that repeat an expert of the same rank.
[[nodiscard]] int count_duplicates(LayerState const& state);

struct DuplicateLimits {
  std::int64_t max_fetches = 0;  ///< of the layer, those made before included
  std::size_t slots_to_fill = 0;
};

/// What became of the duplicates that are left.
struct DuplicatesLeft {
  int over_limits = 0;  ///< changes exist, and every one exceeds a limit on moves
  int without_change =
      0;  ///< no slot may be exchanged with theirs and no expert may take them (node limits, full ranks)
};

/// Rids ranks of duplicates, slots ascending. A slot goes to another expert, or is exchanged with a slot of another
/// rank: the change that raises the largest value least, then the one with fewest fetches, then the coolest, the first
/// such in the order of experts, then slots. A change that `allows` refuses gives way to the next.
DuplicatesLeft settle_duplicates(LayerState& state, FetchCount& fetches, DuplicateLimits const& limits,
                                 FetchFilter const& allows);

}  // namespace switchyard::placement
