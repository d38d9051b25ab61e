// SPDX-License-Identifier: Apache-2.0
/// moved_rows(): one rank's rows of an eplb-exec vector as the rebalance executors take them: one tensor per layer, in
/// memory one layer after the other; a row holds the expert and the slot that it came from.
#pragma once

#include <cstdint>

#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::tools {

constexpr std::int64_t kMovedRowBytes = 2 * std::int64_t{sizeof(std::int64_t)};

/// @param base [layers, slots of `rank`, kMovedRowBytes], host or device memory
[[nodiscard]] RegisteredWeights moved_rows(RebalancePlan const& plan, RankId rank, std::byte* base);

}  // namespace switchyard::tools
