// SPDX-License-Identifier: Apache-2.0
/// What the planners of all families share: the placement's digest, the gathered counts, and turning rows that arrived
/// into rows by local expert.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/alltoall_planner.hpp"

namespace switchyard {

/// The digest of what ranks must agree on about the placement: this layer's slots and who owns them.
[[nodiscard]] Fingerprint layer_fingerprint(ExpertPlacement const& placement, int layer);

[[nodiscard]] DispatchSetup make_setup(DispatchFamily family, AllToAllConfig const& config,
                                       ExpertPlacement const& placement, int layer);

/// @throws Error{invalid_argument} unless `comm` has as many ranks as the grid.
void require_world(Communicator const& comm, ExpertParallelGrid const& grid);
/// What planning a whole group in one process needs: one routing per rank, and no limits or one per rank.
/// @throws Error{shape_mismatch} with the numbers.
void require_group(ExpertParallelGrid const& grid, std::span<RoutingMap const> routings,
                   std::span<CapacityLimit const> limits);

/// Every rank's rows per slot, as gathered.
class GatheredCounts {
 public:
  /// @throws Error{shape_mismatch} for another length than world * slots, Error{invalid_plan} for a negative count.
  GatheredCounts(std::span<std::int64_t const> counts, int world, ExpertPlacement const& placement);

  [[nodiscard]] std::int64_t rows(RankId source, int slot) const;
  /// Rows of `source` for all slots of rank `owner` of the placement.
  [[nodiscard]] std::int64_t rows_for(RankId source, int owner) const;

 private:
  std::span<std::int64_t const> counts_;
  SlotLayout const& layout_;
  int num_slots_;
};

/// @throws Error{invalid_plan} when the counts gathered for this rank are not those of its assignment.
void require_own_counts(RowAssignment const& assignment, GatheredCounts const& counts);

/// The order of an expert's rows and what arrived: input rows by source rank, and for each the local experts it goes
/// to.
struct Arrivals {
  ExpertParallelGrid grid;
  RowOrder row_order;
  std::int64_t num_local;
  std::span<std::int64_t const> rows_of_source;  ///< [world] input rows
  std::int64_t columns;
  std::span<std::int32_t const> local_experts;  ///< [input rows * columns] -1 = none
};
/// @return rows by (local expert, source in row order, input row, column): a stable counting sort.
/// O(input rows * columns + world * local experts).
[[nodiscard]] RowGather expand_rows(Arrivals const& arrivals);

/// How often every number of [0, bound) occurs among choices, where -1 means none.
struct CountedChoices {
  std::int64_t first_bad = -1;       ///< index of the first choice outside [-1, bound); then there are no counts
  std::vector<std::int64_t> counts;  ///< [bound]
};
[[nodiscard]] CountedChoices count_choices(std::span<std::int32_t const> choices, std::int32_t bound);

/// Fills the lists by input row from token_of_row, rows ascending. @param inputs number of input rows.
void fill_row_lists(RowGather& gather, std::int64_t inputs);

}  // namespace switchyard
