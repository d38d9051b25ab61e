// SPDX-License-Identifier: Apache-2.0
/// MovePath: from a placement in use towards a threshold, by the changes that buy most per expert fetched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "fetch_count.hpp"
#include "layer_state.hpp"

namespace switchyard::placement {

struct MovePathOptions {
  double threshold = 0;          ///< no rank should be above it
  double level = 1;              ///< about the mean rank value; scales the score
  std::int64_t max_fetches = 0;  ///< of the layer
  std::int64_t max_steps = 0;    ///< changes
  std::size_t slots_to_fill = 0;
  bool may_empty = false;
};

/// Whether the fetches so far respect the caps of links and ranks.
using FetchFilter = std::function<bool(LayerState const&, FetchCount const&)>;
/// Called after every change with the state and what it costs so far.
using PathObserver = std::function<void(LayerState const&, FetchCount const&)>;

/// Cools the hottest rank again and again until none is above the threshold, nothing helps, or a limit is met. Each
/// step takes the change with the largest fall of sum over ranks of (excess over the threshold + a small square of the
/// distance from the level) per fetch it adds; the first such in the order of ranks and slots.
/// @note deterministic; no clock.
void follow_path(LayerState& state, FetchCount& fetches, MovePathOptions const& options, FetchFilter const& allows,
                 PathObserver const& observe);

}  // namespace switchyard::placement
