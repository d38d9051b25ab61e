// SPDX-License-Identifier: Apache-2.0
/// choose_senders: which rank sends each fetched expert, within caps, and how long that takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "fetch_count.hpp"
#include "switchyard/placement/incremental.hpp"

namespace switchyard::placement {

struct Fetch {
  std::size_t expert;
  std::size_t from;  // kNone: no live rank holds it
  std::size_t to;
};

/// In order of (receiver, expert): a sender on the receiver's node before others, the one with the fewest sends so far,
/// the lowest rank. @return nothing when some fetch finds no sender within the caps, or a receiver exceeds its own.
[[nodiscard]] std::optional<std::vector<Fetch>> choose_senders(LayerState const& state, FetchCount const& fetches,
                                                               MoveLimits const& limits);

/// The slowest rank's time over its links: each direction of each link class runs by itself. 0 without bandwidths.
[[nodiscard]] double transfer_seconds(Cluster const& cluster, std::vector<Fetch> const& fetches,
                                      TransferCosts const& costs);

}  // namespace switchyard::placement
