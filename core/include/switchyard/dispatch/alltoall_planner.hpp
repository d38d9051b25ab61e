// SPDX-License-Identifier: Apache-2.0
/// The planner of Megatron's AlltoAll dispatcher: routing and placement in, one DispatchPlan per rank out.
///
/// Planning has two pure steps with one exchange of counts between them: assign_rows() on every rank, an all-gather of
/// rows_per_slot, plan_alltoall() on every rank. For a contiguous placement every integer equals Megatron's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/dispatch/replica_rule.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard {

/// What all ranks must pass equally.
struct AllToAllConfig {
  ExpertParallelGrid grid{};
  RowOrder row_order = RowOrder::tp_major;
  ChunkRestore restore = ChunkRestore::inverse;  ///< megatron_seed only with tp_major
  ReplicaRule replica_rule = ReplicaRule::token_rank_layer;
  friend bool operator==(AllToAllConfig const&, AllToAllConfig const&) = default;
};

/// Step 1 of planning: which physical slot every choice of this rank goes to, in row order.
struct RowAssignment {
  RankId rank{};
  std::int64_t slot_columns = 0;
  RowGather gather;                         ///< rows by (physical slot, token, slot k)
  std::vector<std::int64_t> rows_per_slot;  ///< [num_slots]
};

/// @param rank of the world (tp * ep). @param routing logical experts of this rank's tokens, after drop and pad.
/// @param placement its ranks are the EP ranks; experts may have replicas, ranks any number of slots.
/// @throws Error{shape_mismatch} when routing, placement and grid disagree in size; Error{invalid_argument} for a bad
///         grid, rank or layer; Error{invalid_placement} when a token chose an expert that has no slot (expert, token
///         and rank are named), or when the placement names an unknown expert.
/// @note pure; O(rows + slots).
[[nodiscard]] RowAssignment assign_rows(AllToAllConfig const& config, RankId rank, RoutingMap const& routing,
                                        ExpertPlacement const& placement, int layer);

/// Step 2 of planning. @param gathered_counts [world * num_slots] every rank's rows_per_slot, rank ascending.
/// @param limit what apply_capacity() limited the routing to, if it did.
/// @throws Error{shape_mismatch} for another length of the counts; Error{invalid_plan} when this rank's row of them is
///         not its own assignment, a count is negative, or `limit` does not hold for the assignment.
/// @note pure; O(rows + world * local slots + slots).
[[nodiscard]] DispatchPlan plan_alltoall(AllToAllConfig const& config, RowAssignment assignment,
                                         ExpertPlacement const& placement, int layer,
                                         std::span<std::int64_t const> gathered_counts,
                                         std::optional<CapacityLimit> limit = {});

/// Both steps with the exchange of counts over `comm`. Collective: every rank of the grid calls it.
/// @throws as above (a rank that throws aborts the group), Error{desync} when ranks disagree in configuration or
///         placement.
[[nodiscard]] DispatchPlan plan_alltoall(Communicator& comm, AllToAllConfig const& config, RoutingMap const& routing,
                                         ExpertPlacement const& placement, int layer,
                                         std::optional<CapacityLimit> limit = {});

/// The plans of all ranks in one process: what plan_alltoall() over a communicator gives each of them.
/// @param routings one per rank of the world. @param limits empty, or one per rank.
[[nodiscard]] std::vector<DispatchPlan> plan_alltoall_group(AllToAllConfig const& config,
                                                            std::span<RoutingMap const> routings,
                                                            ExpertPlacement const& placement, int layer,
                                                            std::span<CapacityLimit const> limits = {});

}  // namespace switchyard
