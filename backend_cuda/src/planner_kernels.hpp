// SPDX-License-Identifier: Apache-2.0
/// Launchers of the device planner: slots of choices, counts, stable sorts, what follows from counts, the fingerprint.
///
/// A rank's announcement is a block of fixed size: a PlanHeader, then its slot table (AllGather, Flex) or its rows per
/// slot (AlltoAll). Blocks of all ranks lie one behind the other, rank ascending.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/hd/plan_step.hpp"
#include "switchyard/hd/replica_index.hpp"

namespace switchyard::cuda {

struct alignas(16) PlanHeader {
  std::int64_t tokens;
  std::uint64_t configuration;  ///< digest of what ranks must share; 0 from a rank with an error
};

/// Two words: the sticky one, and what it was at the end of the step before, which an announcement goes by: all of a
/// step's announcements are alike, whichever thread finds a fault first. The sticky word is kind << kPlanErrorShift |
/// detail; the largest one stays, so the first choice is kept and the largest size.
enum class PlanError : std::uint32_t { none, bad_id, lost_expert, bad_weight, named_twice, other_setup, overflow };
inline constexpr int kPlanErrorShift = 48;
inline constexpr std::uint64_t kPlanDetailMask = (std::uint64_t{1} << kPlanErrorShift) - 1;

/// Announcements of one rank or of all. One with another configuration counts as empty.
struct PlanBlocks {
  std::byte* data;
  std::int64_t block_bytes;
  std::uint64_t configuration;
};

/// The numbers of a plan that only the device knows.
enum PlanNumber : int {
  kPlanRank,  ///< this and the next three: the facts that a fingerprint takes together
  kPlanFirstSlot,
  kPlanTokens,
  kPlanColumns,
  kPlanRows,        ///< (token, slot) rows of this rank
  kPlanSentRows,    ///< Flex: (rank, token) rows of this rank
  kPlanInputs,      ///< AllGather, Flex: carried rows that arrive
  kPlanExpertRows,  ///< rows of the local experts
  kPlanSortedRows,  ///< MegaBlocks: rows that arrive
  kPlanBinnedRows,  ///< MegaBlocks: those that find room in bins
  kPlanNumberCount,
};

/// Routing to slots. One of `ids` and `map` is given.
struct PlanSlotsParams {
  std::int32_t const* ids;  ///< [T, columns] logical experts, -1 = dropped
  std::uint8_t const* map;  ///< [T, columns] 0 or 1, columns are experts
  float const* weights;     ///< [T, columns] or null; NaN of a choice is an error
  bool drops_zero_weights;  ///< FlexSelection::nonzero_weights
  std::int64_t tokens;
  std::int32_t columns;
  std::int32_t experts;
  std::int32_t const* replica_begin;  ///< [experts + 1]
  std::int32_t const* replica_slots;
  std::int32_t const* fixed;  ///< [experts] sglang_static, else null
  hd::ReplicaContext context;
  std::uint64_t configuration;
  PlanHeader* header;   ///< written
  std::int32_t* slots;  ///< [T, columns] written
  unsigned long long* error;
};
/// All launchers: asynchronous in `stream`, no allocation, capturable. @throws Error{cuda} if the launch is refused.
void launch_plan_slots(PlanSlotsParams const& params, StreamView stream);

/// A stable counting sort of choices by (bucket, source in row order, token, column).
struct PlanSort {
  hd::PlanKeys keys;
  hd::PlanTiles tiles;
  std::int32_t buckets;
  std::int32_t columns;
  PlanBlocks blocks;              ///< slot tables of all sources
  std::int32_t const* source_at;  ///< [sources] rank at each position, null: ascending
  bool counts_carried;            ///< inputs are the tokens that have rows, not all tokens
  std::int32_t copies;            ///< every row so many times in a row of equal blocks (TP ranks of a destination)
  std::uint32_t* prefix;          ///< as hd::PlanCounts
  std::uint32_t* totals;
  std::int64_t max_rows;  ///< lists hold no more; rows behind it are left out
  std::int64_t* row_input;
  std::int64_t* row_column;   ///< null: not wanted
  std::int64_t* input_begin;  ///< without the last entry
  std::int64_t* input_rows;

  [[nodiscard]] SWITCHYARD_HD std::int32_t lines() const { return buckets + 2; }
  [[nodiscard]] SWITCHYARD_HD hd::PlanCounts counts() const { return {prefix, totals, tiles.count()}; }
};
struct PlanSorts {
  PlanSort sort[3];
  std::int32_t count;
  std::int32_t warps;  ///< of a placing block; what shared memory allows
};
/// @return the warps of a placing block for so many buckets, 0 when shared memory cannot hold them.
[[nodiscard]] std::int32_t plan_warps(std::int32_t buckets);
/// Allows the kernels the shared memory of plan_warps(). Once per device, not inside a capture.
void prepare_plan_kernels();
/// Fills prefix and totals.
void launch_plan_count(PlanSorts const& sorts, StreamView stream);

/// What counts alone decide. Lists of exchanges that the family has not may be null.
struct PlanFinish {
  std::int32_t own;  ///< which of the sorts is by slot, by rank, by local expert; -1: none
  std::int32_t unique;
  std::int32_t arrival;
  PlanBlocks blocks;  ///< of all ranks
  std::int32_t tp;
  std::int32_t ep;
  std::int32_t rank;
  std::int32_t num_slots;
  std::int32_t first_slot;
  std::int32_t num_local;
  std::int32_t const* first_slot_of;  ///< [ep + 1]
  std::int32_t const* position_of;    ///< [world] a source's place in row order
  std::int32_t const* chunk_of;       ///< [world] a source's place among arriving blocks
  std::int64_t* rows_per_slot;        ///< [num_slots]
  std::int64_t* tokens_per_local;     ///< [num_local]
  std::int64_t* chunk_sizes;          ///< [world * num_local]
  std::int64_t* arrived;              ///< [world] rows from every source
  std::int64_t* lane_send;            ///< [world]
  std::int64_t* lane_receive;         ///< [world]
  std::int64_t* tp_own;               ///< [1]
  std::int64_t* tp_receive;           ///< [world]
  std::int64_t* rank_send;            ///< [world]
  std::int64_t* rank_receive;         ///< [world]
  std::int64_t* tokens_of_rank;       ///< [world]
  std::int64_t* numbers;              ///< [kPlanNumberCount]
  std::int64_t max_expert_rows;
  unsigned long long* error;
};
/// Writes the lists of the sorts, whose counts are there, and what follows from counts.
void launch_plan_place(PlanSorts const& sorts, PlanFinish const& finish, StreamView stream);
/// The announcement of an AlltoAll: the header and the rows per slot of a sort by slot that was counted.
void launch_plan_announce(PlanSort const& own, PlanHeader* block, StreamView stream);

/// One list of a fingerprint; its length is fixed_count, plus numbers[count_at] if that is not negative.
struct PlanList {
  std::uint32_t field;
  std::int32_t count_at;
  std::int64_t fixed_count;
  std::int64_t max_count;  ///< what its memory holds
  std::int64_t const* values;
};
struct PlanDigestParams {
  static constexpr int kMaxLists = 24;
  PlanList lists[kMaxLists];
  std::int32_t count;
  std::int64_t const* numbers;
  std::uint64_t base;  ///< words of what the host knows
  std::uint64_t* result;
};
void launch_plan_digest(PlanDigestParams const& params, StreamView stream);

/// Capacity: which (token, expert) pairs are kept.
struct PlanCapacityParams {
  std::int32_t const* ids;  ///< [T, top_k], or null when `map` is given
  std::uint8_t const* map;  ///< [T, experts]
  float const* weights;     ///< [T, top_k] or [T, experts]
  std::int64_t tokens;
  std::int32_t top_k;
  std::int32_t experts;
  std::int64_t capacity;
  bool by_weight;  ///< DropPolicy::probs
  bool pads;
  std::uint8_t* dense_map;  ///< [T, experts] scratch
  float* dense_weights;     ///< [T, experts] scratch
  std::uint8_t* kept_map;   ///< [T, experts]
  float* kept_weights;      ///< [T, experts]
  unsigned long long* error;
};
void launch_plan_capacity(PlanCapacityParams const& params, StreamView stream);

}  // namespace switchyard::cuda
