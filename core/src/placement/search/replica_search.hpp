// SPDX-License-Identifier: Apache-2.0
/// search_replicas: other replica counts, each judged by what packing them anew would give.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cluster.hpp"
#include "slot_figures.hpp"

namespace switchyard::placement {

/// Looks for replica counts with a lower largest rank value in a trial packing: heaviest first, lightest rank with a
/// free slot first, as pack() does, but without looking for duplicates. Starts from the given counts and from the
/// fewest replicas under some limits of the largest replica (what that saves shrinks the companions of large replicas),
/// and from each moves replicas from one expert to another while that helps.
/// @param replicas [experts] where to start; their sum is kept. @param work replicas to pack in all trials together.
/// @param target stop at this value.
/// @note With two slots per rank the trial packing pairs large with small, which is optimal for its counts, so only the
///       counts are left to search: where exchanging slots of a placement gets stuck, this does not.
[[nodiscard]] std::vector<std::size_t> search_replicas(Cluster const& cluster, SlotFigures& figures,
                                                       std::vector<std::size_t> const& replicas, std::int64_t work,
                                                       double target);

}  // namespace switchyard::placement
