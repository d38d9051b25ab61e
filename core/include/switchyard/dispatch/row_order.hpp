// SPDX-License-Identifier: Apache-2.0
/// RowOrder as arithmetic: where a source rank's rows lie inside an expert's block, and the way between two orders.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

/// @return the position of `source` among the source ranks of an expert's block. Pure.
[[nodiscard]] constexpr std::int64_t source_position(ExpertParallelGrid grid, RowOrder order, RankId source) noexcept {
  if (order == RowOrder::rank_major) return source.value();
  return std::int64_t{grid.tp_rank_of(source)} * grid.ep + grid.ep_rank_of(source);
}
/// @return the source rank at `position`: the inverse of source_position().
[[nodiscard]] constexpr RankId source_at(ExpertParallelGrid grid, RowOrder order, int position) noexcept {
  if (order == RowOrder::rank_major) return RankId{position};
  return grid.rank_of(position % grid.ep, position / grid.ep);
}

/// The rows that arrive at one rank, counted. @param plans of all ranks, rank ascending.
/// @return [world * local experts], source ranks ascending, then local experts. @throws Error{shape_mismatch} when
///         `plans` are not a group that holds `rank`.
[[nodiscard]] std::vector<std::int64_t> arrivals_at(std::span<DispatchPlan const> plans, RankId rank);

/// @param arrivals as arrivals_at() gives it. @return for every row in order `to`, the row that holds it in order
/// `from`, so that gathering by it turns one layout into the other. @throws Error{shape_mismatch} when the length is no
/// multiple of the world; Error{invalid_argument} for a negative count or sums beyond 64 bits. Pure; O(rows).
[[nodiscard]] std::vector<std::int64_t> row_order_map(ExpertParallelGrid grid, std::span<std::int64_t const> arrivals,
                                                      RowOrder from, RowOrder to);

}  // namespace switchyard
