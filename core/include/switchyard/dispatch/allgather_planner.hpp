// SPDX-License-Identifier: Apache-2.0
/// The planner of Megatron's AllGather dispatcher: every rank gets all tokens and picks the rows of its experts.
///
/// Two pure steps with one exchange between them: assign_rows() (alltoall_planner.hpp) on every rank, an all-gather of
/// its slot_table(), plan_allgather() on every rank. Unlike Megatron, ranks may hold different numbers of tokens, any
/// placement will do, and the row order is a choice.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/dispatch/alltoall_planner.hpp"

namespace switchyard {

/// What all ranks must pass equally.
struct AllGatherConfig {
  ExpertParallelGrid grid{};
  RowOrder row_order = RowOrder::rank_major;
  ReplicaRule replica_rule = ReplicaRule::token_rank_layer;
  friend bool operator==(AllGatherConfig const&, AllGatherConfig const&) = default;
};

/// The AlltoAll whose path brings single rows back (DispatchPlan::row_return).
[[nodiscard]] AllToAllConfig return_config(AllGatherConfig const& config);

/// One rank's routing as all others must know it.
struct SlotTable {
  std::int64_t num_tokens = 0;
  std::int64_t slot_columns = 0;
  std::vector<std::int32_t> slots;  ///< [num_tokens * slot_columns] physical slot of every choice, -1 = none
  friend bool operator==(SlotTable const&, SlotTable const&) = default;
};
/// @return the table of an assignment. Pure; O(tokens * columns).
[[nodiscard]] SlotTable slot_table(RowAssignment const& assignment);

/// @param assignment of this rank, made with return_config(config). @param tables one per rank, rank ascending.
/// @param limit what apply_capacity() limited the routing to, if it did.
/// @throws Error{shape_mismatch} for another number of tables, a table of the wrong length, or ranks with different
///         slot_columns; Error{invalid_plan} for a slot outside the placement, or when this rank's table is not its own
///         assignment; otherwise as plan_alltoall().
/// @note pure; O(all ranks' tokens * columns + world * slots).
[[nodiscard]] DispatchPlan plan_allgather(AllGatherConfig const& config, RowAssignment assignment,
                                          ExpertPlacement const& placement, int layer,
                                          std::span<SlotTable const> tables, std::optional<CapacityLimit> limit = {});

/// Both steps over `comm`: an all-gather of the tables' sizes, then one of the tables. Collective.
/// @throws as plan_alltoall() over a communicator.
[[nodiscard]] DispatchPlan plan_allgather(Communicator& comm, AllGatherConfig const& config, RoutingMap const& routing,
                                          ExpertPlacement const& placement, int layer,
                                          std::optional<CapacityLimit> limit = {});

/// The plans of all ranks in one process. @param routings one per rank of the world. @param limits empty, or one each.
[[nodiscard]] std::vector<DispatchPlan> plan_allgather_group(AllGatherConfig const& config,
                                                             std::span<RoutingMap const> routings,
                                                             ExpertPlacement const& placement, int layer,
                                                             std::span<CapacityLimit const> limits = {});

}  // namespace switchyard
