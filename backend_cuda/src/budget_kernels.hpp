// SPDX-License-Identifier: Apache-2.0
/// Launchers of the path with slots of fixed size: what a rank says beside its rows, where rows stand in slots, and
/// what becomes of them when all ranks' words are there.
///
/// A slot holds `slot_rows` rows for one peer. Slots to send stand in front, one per rank, and slots received behind
/// them; a rank reads the rows for itself where it would send them. So the row at place p of the slot for rank d is row
/// slot_of(d) * slot_rows + p, and the row at place p of the slot from rank s is row (world + slot_of(s)) * slot_rows +
/// p. Slots stand in the order of ranks, but those of single rows with TP lane by lane (BudgetLanes).
#pragma once

#include <cstdint>

#include "planner_kernels.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/host_device.hpp"

namespace switchyard::cuda {

/// Kinds of error words beside the planner's (PlanError), in the same bits: the detail of the first is the rank, of the
/// second the rows needed.
enum class BudgetError : std::uint32_t { full_slot = 32, other_rows, other_call };

/// Rows that a step needs room for, on the rank that needs the most of each.
struct BudgetNeeds {
  std::int64_t single_rows;   ///< (token, slot) rows of one ordered pair of ranks
  std::int64_t carried_rows;  ///< (rank, token) rows of one ordered pair
  std::int64_t expert_rows;
};

/// What a rank tells each peer with every exchange.
struct alignas(16) BudgetHeader {
  std::uint64_t sequence;
  std::uint64_t digest;
  unsigned long long error;  ///< 0, or why no rank may use this step's rows
  std::int64_t error_rank;   ///< which rank found it
  std::int64_t rows;         ///< in the slot for this peer
  BudgetNeeds needs;
};

/// One rank's words in device memory.
struct BudgetState {
  std::uint64_t sequence;    ///< of the last exchange
  unsigned long long error;  ///< of the group, sticky
  std::int64_t error_rank;
  BudgetNeeds needs;               ///< of the group, when `error` was set
  unsigned long long local_error;  ///< of this rank's present plan
  BudgetNeeds local_needs;
  std::int64_t lists_overflow;  ///< rows to or from a peer do not fit: lists must not be followed
};

/// The order of slots for ranks r = ep * TP + tp: those of one TP index, a lane, are neighbours.
struct BudgetLanes {
  std::int32_t tp = 1;
  std::int32_t ep = 1;

  [[nodiscard]] SWITCHYARD_HD constexpr std::int64_t slot_of(std::int32_t rank) const noexcept {
    return static_cast<std::int64_t>(rank % tp) * ep + rank / tp;
  }
  [[nodiscard]] SWITCHYARD_HD constexpr std::int32_t rank_of(std::int64_t slot) const noexcept {
    return static_cast<std::int32_t>(slot % ep * tp + slot / ep);
  }
};

/// Which rows travel. `sent` and `received` are [world] numbers of rows.
struct BudgetExchange {
  BudgetState* state;
  BudgetHeader* said;         ///< [world] to every rank
  BudgetHeader const* heard;  ///< [world], but for this rank's own
  std::int64_t const* sent;
  std::int64_t const* received;
  std::int64_t slot_rows;
  std::int32_t rank;
  std::int32_t world;  ///< at most kMostBudgetRanks
  BudgetLanes lanes;
  std::uint64_t digest;
};
inline constexpr int kMostBudgetRanks = 1024;

/// Where chunks of (source, local expert) begin: among a rank's expert rows, and in the slot of their source.
struct BudgetChunks {
  std::int64_t const* row_begin;    ///< [local experts * world + 1], by (local expert, position of the source)
  std::int64_t const* slot_begin;   ///< [world * (local experts + 1)], by (source, local expert)
  std::int32_t const* source_at;    ///< [world] in the plan's row order
  std::int32_t const* position_of;  ///< [world] of every source there
  std::int64_t const* bin_begin;    ///< [local experts + 1] MegaBlocks: where bins begin among expert rows, else null
  std::int32_t num_local;
};

/// Behind a planner's lists: what the plan needs, and the chunks.
struct BudgetPlanParams {
  DevicePlanLists lists;
  unsigned long long const* plan_error;
  BudgetState* state;
  std::int64_t const* carried_sent;      ///< [world], or null
  std::int64_t const* carried_received;  ///< [world], or null
  std::int64_t const* arrived;           ///< [world] single rows of every source for this rank's experts
  std::int32_t const* source_at;         ///< as BudgetChunks
  std::int32_t const* chunk_of;          ///< [world] of every source in the order of lists.chunk_sizes
  std::int64_t single_slot_rows;         ///< 0: single rows do not travel
  std::int64_t carried_slot_rows;        ///< 0: carried rows do not travel
  std::int32_t world;
  std::int32_t num_local;
  std::int64_t* row_begin;   ///< as BudgetChunks
  std::int64_t* slot_begin;  ///< as BudgetChunks
};
/// All launchers: asynchronous in `stream`, no allocation, capturable. @throws Error{cuda} if the launch is refused.
void launch_budget_plan(BudgetPlanParams const& params, StreamView stream);

/// AllGather as an exchange of carried rows: every token goes to every rank.
struct BudgetGatherParams {
  DevicePlanLists lists;
  std::int32_t world;
  std::int64_t tokens;          ///< of this rank's step
  std::int64_t* sent_rows;      ///< [world]
  std::int64_t* token_of_row;   ///< [world * tokens]
  std::int64_t* row_begin;      ///< [tokens + 1]
  std::int64_t* rows_of_token;  ///< [world * tokens]
};
void launch_budget_gather(BudgetGatherParams const& params, StreamView stream);

/// The words for all peers, and which token stands where in the slots to send. @param map [world * slot_rows]
void launch_budget_send_tokens(BudgetExchange const& exchange, std::int64_t const* token_of_row, std::int32_t* map,
                               StreamView stream);
/// The words, and which expert row stands where in the slots that return single rows, for sources of all lanes.
/// @param experts [ep * slot_rows] the local expert at every place of this rank's lane, or null
void launch_budget_send_singles(BudgetExchange const& exchange, BudgetChunks const& chunks, std::int32_t* map,
                                std::int32_t* experts, StreamView stream);
/// The local experts of `rows` expert rows from `first_row` on.
void launch_budget_row_experts(BudgetChunks const& chunks, std::int32_t world, std::int64_t first_row,
                               std::int64_t rows, std::int32_t* experts, StreamView stream);
/// The words, and which terms the partial at every place of the slots adds. @param begin [world * slot_rows + 1]
void launch_budget_send_partials(BudgetExchange const& exchange, DeviceGather const& expansion, std::int64_t* begin,
                                 StreamView stream);

/// The group's verdict, and for every expert row where it stands in the slots; all rows are zeros after an error.
/// @param map [max_rows]; rows the plan has not are left alone.
void launch_budget_land_carried(BudgetExchange const& exchange, DevicePlanLists const& lists, std::int64_t max_rows,
                                std::int32_t* map, StreamView stream);
void launch_budget_land_singles(BudgetExchange const& exchange, BudgetChunks const& chunks, std::int64_t max_rows,
                                std::int32_t* map, StreamView stream);

/// Weights that travelled with (rank, token) rows, one per expert row of a received row.
struct BudgetWeightsParams {
  BudgetExchange exchange;
  DeviceGather expansion;
  void const* weights;  ///< slots of [columns] weights
  bool weights_f64;
  void* output;  ///< [expert rows] in the expansion's order
  bool output_f64;
  std::int64_t columns;
  std::int64_t max_received;  ///< rows that can arrive
};
/// The group's verdict, and the terms' weights.
void launch_budget_land_weights(BudgetWeightsParams const& params, StreamView stream);

/// Sums at the source rank: which rows of the slots each token adds; no token adds any after an error.
struct BudgetJoinParams {
  BudgetExchange exchange;
  DeviceGather rows;            ///< first stage of the path
  std::int64_t const* planned;  ///< tokens of the plan
  std::int64_t tokens;
  std::int32_t lane_tp;  ///< TP ranks where only this rank's lane brought rows, else 1
  std::int64_t* begin;   ///< [tokens + 1]
  std::int64_t* terms;   ///< rows of the slots, negative for those that other lanes did not bring
  // Of single rows; null for partials.
  void const* weights;  ///< [tokens, columns]
  bool weights_f64;
  void* term_weights;
  bool output_f64;
  std::int32_t const* experts;  ///< [tokens, columns]: terms in their order, equal ones by column; null: by column
  std::int64_t columns;
  bool by_row;  ///< terms in the order of the plan's rows: by rank, then local expert, then column
};
/// The group's verdict, and the terms.
void launch_budget_join(BudgetJoinParams const& params, StreamView stream);

/// Terms of every token, a rank's beside each other, cut into one sum per rank.
struct BudgetRankSumsParams {
  std::int64_t const* join_begin;  ///< [tokens + 1]
  std::int64_t const* join_terms;  ///< rows of the slots
  std::int64_t slot_rows;
  std::int64_t tokens;
  std::int64_t ranks_of_token;  ///< as many sums stand for every token, those behind its ranks' are empty
  std::int64_t* rank_begin;     ///< [tokens * ranks_of_token + 1]
  std::int64_t* rank_terms;     ///< [tokens * ranks_of_token] the sum of that number, negative for an empty one
};
void launch_budget_rank_sums(BudgetRankSumsParams const& params, StreamView stream);

/// Only the words: what stands in the slots was written another way.
void launch_budget_say(BudgetExchange const& exchange, StreamView stream);

/// Gradients at the source rank, an entry for each of its choices: where the choice's row stands in the slots, negative
/// for a dropped one, and for all of them after an error.
struct BudgetChoicesParams {
  BudgetExchange exchange;  ///< that brought the rows home
  DeviceGather rows;
  std::int64_t const* planned;  ///< tokens of the plan
  std::int64_t tokens;
  std::int64_t columns;
  std::int64_t* arrived;  ///< [tokens * columns] among the slots received
  std::int64_t* sent;     ///< [tokens * columns] among the slots to send
};
/// The group's verdict, and the entries.
void launch_budget_choices(BudgetChoicesParams const& params, StreamView stream);

/// Least token * columns + column of a row with a NaN weight, by atomic minimum.
struct BudgetWatchParams {
  DeviceGather rows;
  std::int64_t const* num_rows;
  std::int64_t max_rows;
  void const* weights;
  bool weights_f64;
  std::int64_t columns;
  unsigned long long* first_nan;
};
void launch_budget_watch(BudgetWatchParams const& params, StreamView stream);

}  // namespace switchyard::cuda
