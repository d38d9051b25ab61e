// SPDX-License-Identifier: Apache-2.0
/// RowTag: where a row came from; and the tags of the rows that a rank's experts must see.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

/// Provenance of one dispatched row.
struct RowTag {
  RankId source{};
  std::int64_t token = 0;  ///< of the source rank
  friend bool operator==(RowTag const&, RowTag const&) = default;
};

/// What `rank` holds after the dispatch, from every source's permutation and the row order alone: exchanges, gathers
/// and sorts are not consulted, so this checks them.
/// @param plans of all ranks, rank ascending, each valid. @return [plans[rank].num_expert_rows()].
/// @throws Error{shape_mismatch} when the plans are no group that holds `rank`, or a plan's rows disagree with its
///         counts; Error{unsupported} for bins with empty rows and for hidden shards (MegaBlocks).
/// @note pure; O(rows + world * local experts).
[[nodiscard]] std::vector<RowTag> expected_row_tags(std::span<DispatchPlan const> plans, RankId rank);

}  // namespace switchyard
