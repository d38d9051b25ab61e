// SPDX-License-Identifier: Apache-2.0
/// The planner of Megatron's Flex dispatcher (DeepEP): a token travels once to every rank that holds one of its experts
/// and is expanded there to one row per (local expert, slot).
///
/// Two pure steps with two exchanges between them: assign_flex_rows() on every rank; an all-gather of its counts and an
/// exchange of its expert ids; plan_flex() on every rank. With TP > 1 every TP rank of an expert gets its own copy.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/dispatch/alltoall_planner.hpp"

namespace switchyard {

/// Which choices of a token count.
enum class FlexSelection : std::uint8_t {
  routing_map,      ///< every choice that the routing names
  nonzero_weights,  ///< the seed of Megatron-Core (spring 2025): a choice of weight 0 is dropped. The seed never looks
                    ///< at its routing map and takes the top choices by weight
};

/// What all ranks must pass equally.
struct FlexConfig {
  ExpertParallelGrid grid{};
  RowOrder row_order = RowOrder::rank_major;
  ReplicaRule replica_rule = ReplicaRule::token_rank_layer;
  FlexSelection selection = FlexSelection::routing_map;
  friend bool operator==(FlexConfig const&, FlexConfig const&) = default;
};

/// The AlltoAll whose path brings single rows back (DispatchPlan::row_return).
[[nodiscard]] AllToAllConfig return_config(FlexConfig const& config);

/// Step 1 of planning.
struct FlexAssignment {
  RowAssignment rows;                       ///< one per (slot, token, k), as in the other families
  RowGather unique;                         ///< one per (destination rank, token); has no slots
  std::vector<std::int64_t> rows_per_rank;  ///< [world] of them
  std::vector<std::int32_t> ids;            ///< [unique rows, slot_columns] local expert at the destination, -1 = none
};

/// @throws as assign_rows(). @note pure; O(rows * TP + slots).
[[nodiscard]] FlexAssignment assign_flex_rows(FlexConfig const& config, RankId rank, RoutingMap const& routing,
                                              ExpertPlacement const& placement, int layer);

/// @return what a rank announces to all others: its slot_columns, its rows_per_slot, its rows_per_rank.
[[nodiscard]] std::vector<std::int64_t> flex_announcement(FlexAssignment const& assignment);

/// Step 2 of planning. @param announcements [world * (1 + num_slots + world)], rank ascending.
/// @param received_ids the blocks of `ids` that the ranks sent to this one, rank ascending.
/// @throws Error{shape_mismatch} for other lengths or ranks with different slot_columns; Error{invalid_plan} for an id
///         outside the local experts, or ids that do not add up to the announced rows; otherwise as plan_alltoall().
/// @note pure; O(rows + received rows * columns + world * (slots + world)).
[[nodiscard]] DispatchPlan plan_flex(FlexConfig const& config, FlexAssignment assignment,
                                     ExpertPlacement const& placement, int layer,
                                     std::span<std::int64_t const> announcements,
                                     std::span<std::int32_t const> received_ids,
                                     std::optional<CapacityLimit> limit = {});

/// Both steps with their exchanges over `comm`. Collective. @throws as plan_alltoall() over a communicator.
[[nodiscard]] DispatchPlan plan_flex(Communicator& comm, FlexConfig const& config, RoutingMap const& routing,
                                     ExpertPlacement const& placement, int layer,
                                     std::optional<CapacityLimit> limit = {});

/// The plans of all ranks in one process. @param routings one per rank of the world. @param limits empty, or one each.
[[nodiscard]] std::vector<DispatchPlan> plan_flex_group(FlexConfig const& config, std::span<RoutingMap const> routings,
                                                        ExpertPlacement const& placement, int layer,
                                                        std::span<CapacityLimit const> limits = {});

}  // namespace switchyard
