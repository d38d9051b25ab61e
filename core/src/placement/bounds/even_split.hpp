// SPDX-License-Identifier: Apache-2.0
/// Bounds that hold for every placement whose replicas carry even shares, from loads and slot counts alone.
#pragma once

#include <cstdint>
#include <span>

namespace switchyard::placement {

/// What the slots of a layer offer.
struct SlotSupply {
  std::int64_t slots = 0;         ///< over all ranks that serve
  std::int64_t max_replicas = 0;  ///< of one expert; the number of ranks when duplicates on a rank are forbidden
  std::int64_t fewest_slots_of_rank = 0;
};

/// The smallest possible largest replica load.
[[nodiscard]] double min_max_replica_load(std::span<double const> load, SlotSupply const& supply);

/// The smallest possible load of the rank that holds the largest replica, when that rank's other slots hold different
/// experts: min over replica counts of (largest replica + the n-1 smallest replicas of other experts). Slightly relaxed
/// where the smallest replicas belong to experts with several: never above the exact minimum.
/// @param floor a result at or below it is of no interest: the search stops there and gives the largest replica alone.
[[nodiscard]] double min_largest_replica_rank(std::span<double const> load, SlotSupply const& supply, double floor);

}  // namespace switchyard::placement
