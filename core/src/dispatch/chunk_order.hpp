// SPDX-License-Identifier: Apache-2.0
/// Chunks of a ChunkSort in Megatron's AlltoAll family: where the rows of one (source rank, local expert) pair lie.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/dispatch/row_order.hpp"

namespace switchyard {

/// Rows arrive by (source tp, source ep, local expert): the position of a source rank among the arriving blocks.
[[nodiscard]] constexpr std::int64_t arrival_index(ExpertParallelGrid grid, RankId source) noexcept {
  return source_position(grid, RowOrder::tp_major, source);
}
/// The chunk of `source`'s rows for local expert `local` of `num_local`.
[[nodiscard]] constexpr std::int64_t chunk_index(ExpertParallelGrid grid, RankId source, std::int64_t local,
                                                 std::int64_t num_local) noexcept {
  return arrival_index(grid, source) * num_local + local;
}
/// The sort order that brings the chunks into (local expert, source in `row_order`).
[[nodiscard]] std::vector<std::int64_t> chunk_order(ExpertParallelGrid grid, std::int64_t num_local,
                                                    RowOrder row_order);
/// Whether rows that arrived need a sort at all.
[[nodiscard]] constexpr bool needs_sort(ExpertParallelGrid grid, std::int64_t num_local, RowOrder row_order) noexcept {
  return num_local > 1 || (num_local == 1 && row_order == RowOrder::rank_major && grid.tp > 1 && grid.ep > 1);
}

}  // namespace switchyard
