// SPDX-License-Identifier: Apache-2.0
/// RowTag: where a row came from; and the tags of the rows that a rank's experts must see.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

/// Provenance of one dispatched row. As default-constructed: an empty row of a bin.
struct RowTag {
  RankId source{-1};        ///< invalid in an empty row
  std::int64_t token = -1;  ///< of the source rank
  friend bool operator==(RowTag const&, RowTag const&) = default;
};

/// What `rank` holds after the dispatch, from every source's permutation, the row order and the sizes of the bins
/// alone: exchanges, gathers and sorts are not consulted, so this checks them. Hidden shards of a block hold the same
/// rows.
/// @param plans of all ranks, rank ascending, each valid. @return [plans[rank].num_expert_rows()].
/// @throws Error{shape_mismatch} when the plans are no group that holds `rank`, or a plan's rows disagree with its
///         counts. @note pure; O(rows + world * local experts).
[[nodiscard]] std::vector<RowTag> expected_row_tags(std::span<DispatchPlan const> plans, RankId rank);

/// How many of `source`'s rows for every physical slot find a place in the expert's bin: the first ones, sources in row
/// order. All of them unless bins have a capacity (MegaBlocks). @param plans as above. @return [num_slots]
/// @throws as above. @note pure; O(world * (slots + world * local experts)).
[[nodiscard]] std::vector<std::int64_t> rows_in_bins(std::span<DispatchPlan const> plans, RankId source);

}  // namespace switchyard
