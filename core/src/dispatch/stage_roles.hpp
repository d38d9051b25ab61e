// SPDX-License-Identifier: Apache-2.0
/// StageRole: what a stage is for at its place of a family's path. The composition of every family, said once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

enum class StageRole {
  source_rows,     ///< RowGather: one row per (physical slot, token, k)
  source_bins,     ///< RowGather: the same in bins (MegaBlocks in a world of one rank)
  unique_rows,     ///< RowGather: one row per (destination rank, token)
  expand_rows,     ///< RowGather: rows by (local expert, source, token, k) out of rows or tokens that arrived
  sort_rows,       ///< RowGather: rows by (local expert, source, order of arrival)
  bin_rows,        ///< RowGather: sorted rows into bins
  lane_exchange,   ///< RowExchange inside the EP lane
  world_exchange,  ///< RowExchange with every rank
  tp_gather,       ///< GroupGather
  world_gather,    ///< GroupGather
  sort_chunks,     ///< ChunkSort
  repeat_shards,   ///< ShardRepeat
};
[[nodiscard]] std::string_view name_of(StageRole role) noexcept;
/// @return whether `stage` is of the type, and the group, that the role needs.
[[nodiscard]] bool fits(StageRole role, DispatchStage const& stage) noexcept;

/// @return the roles of plan.stages in order; reads the setup and the number of local experts only.
[[nodiscard]] std::vector<StageRole> stage_roles(DispatchPlan const& plan);
/// @return the roles of plan.row_return in order.
[[nodiscard]] std::vector<StageRole> row_return_roles(DispatchPlan const& plan);

}  // namespace switchyard
