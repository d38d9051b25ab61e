// SPDX-License-Identifier: Apache-2.0
/// The planner of MegaBlocks' MoE and dMoE layers: forward_once in a world of one rank, parallel_forward_once
/// otherwise.
///
/// Its layout is not that of an ExpertParallelGrid: expert blocks are the ranks of the placement, and when the world is
/// larger than their number B, rank d holds shard d div B of the hidden (FFN) dimension of block d mod B, and all
/// shards of a block get the same rows. Plans say so with grid {tp 1, ep world} and setup.hidden_shards.
///
/// Two pure steps with one exchange between them: assign_megablocks_rows() on every rank, an all-gather of
/// rows_per_slot, plan_megablocks() on every rank. Source: MegaBlocks layers/moe.py.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/alltoall_planner.hpp"

namespace switchyard {

/// What a capacity of 0 means.
enum class ZeroCapacity : std::uint8_t {
  largest_count,  ///< as many rows as the fullest local expert has: nothing is dropped. MegaBlocks; note that a
                  ///< positive factor whose product truncates to 0 (1 token, 8 experts, factor 1) lands here too
  no_rows,        ///< every row is dropped
};

/// What all ranks must pass equally.
struct MegaBlocksConfig {
  int world = 1;
  ExpertBins bins = ExpertBins::capacity;
  double capacity_factor = 0;  ///< of ExpertBins::capacity
  ZeroCapacity zero_capacity = ZeroCapacity::largest_count;
  std::int64_t block_rows = 128;  ///< of ExpertBins::blocks
  int top_k = 0;                  ///< the K of the capacity; 0 = the routing's slot columns (a dense map needs it)
  ReplicaRule replica_rule = ReplicaRule::token_rank_layer;
  friend bool operator==(MegaBlocksConfig const&, MegaBlocksConfig const&) = default;
};

/// @return the tokens that MegaBlocks puts into megablocks_capacity() (capacity_rule.hpp) on a rank with `num_tokens`
/// tokens: these in forward_once, but num_tokens * top_k * hidden_shards rows in parallel_forward_once, whose formula
/// then multiplies by top_k again. Its bound is therefore top_k * hidden_shards times looser, and switching expert
/// parallelism on changes what is dropped. Kept as it is.
[[nodiscard]] std::int64_t megablocks_capacity_tokens(int world, int hidden_shards, std::int64_t num_tokens, int top_k);

/// How the world is cut: min(world, experts) expert blocks, each held by world / blocks hidden shards.
struct MegaBlocksGrid {
  int expert_blocks = 1;
  int hidden_shards = 1;
};
/// @throws Error{invalid_argument} when the blocks do not divide the world or the experts, as MegaBlocks does.
[[nodiscard]] MegaBlocksGrid megablocks_grid(int world, int num_experts);

/// Step 1 of planning. @param placement its ranks are the expert blocks; their number must divide the world.
/// @throws as assign_rows().
[[nodiscard]] RowAssignment assign_megablocks_rows(MegaBlocksConfig const& config, RankId rank,
                                                   RoutingMap const& routing, ExpertPlacement const& placement,
                                                   int layer);

/// MegaBlocks' integers of one rank's own routing, under its names.
struct MegaBlocksIndices {
  std::vector<std::int64_t> indices;            ///< [rows] flat slot token * K + k of every row, experts ascending
  std::vector<std::int64_t> bin_ids;            ///< [rows] expert of every row (physical slot where it has replicas)
  std::vector<std::int64_t> tokens_per_expert;  ///< [E]
  std::vector<std::int64_t> bins;               ///< [E] inclusive sums of the above
};
[[nodiscard]] MegaBlocksIndices megablocks_indices(RowAssignment const& assignment);

/// @return inclusive sums of the counts, each rounded up to whole blocks (dMoE's padded bins).
/// @throws Error{invalid_argument} for block_rows < 1, a negative count, or sums beyond 64 bits.
[[nodiscard]] std::vector<std::int64_t> padded_bins(std::span<std::int64_t const> tokens_per_expert,
                                                    std::int64_t block_rows);

/// Step 2 of planning. @param gathered_counts [world * num_slots] every rank's rows_per_slot, rank ascending.
/// @throws Error{shape_mismatch} for another length; Error{invalid_plan} when this rank's row of them is not its own
///         assignment or a count is negative; Error{invalid_argument} for block_rows < 1 or a bad factor.
/// @note pure; O(rows + world * slots + local experts * capacity).
[[nodiscard]] DispatchPlan plan_megablocks(MegaBlocksConfig const& config, RowAssignment assignment,
                                           ExpertPlacement const& placement, int layer,
                                           std::span<std::int64_t const> gathered_counts);

/// plan_megablocks() in two halves, so that rows can fly while the second one works (MegaBlocks computes its local sort
/// under an asynchronous exchange; CpuExecutor::start_dispatch()).
/// @return what sending needs: the stages up to the exchange. Not a complete plan: validate() refuses it.
/// @throws as plan_megablocks(). @note pure; O(rows + world * slots).
[[nodiscard]] DispatchPlan plan_megablocks_sends(MegaBlocksConfig const& config, RowAssignment assignment,
                                                 ExpertPlacement const& placement, int layer,
                                                 std::span<std::int64_t const> gathered_counts);
/// The second half: the sort of what arrives, and the bins. @param sends with the same configuration, placement, counts
/// @return what plan_megablocks() returns. @throws Error{invalid_plan} when `sends` is something else.
[[nodiscard]] DispatchPlan complete_megablocks(MegaBlocksConfig const& config, DispatchPlan sends,
                                               ExpertPlacement const& placement,
                                               std::span<std::int64_t const> gathered_counts);

/// Both steps over `comm`. Collective. @throws as plan_alltoall() over a communicator; Error{desync} also when hidden
/// shards with a capacity factor hold different numbers of tokens (a rank's capacity follows from its own, so shards of
/// one block would drop different rows; MegaBlocks assumes equal numbers).
[[nodiscard]] DispatchPlan plan_megablocks(Communicator& comm, MegaBlocksConfig const& config,
                                           RoutingMap const& routing, ExpertPlacement const& placement, int layer);

/// The plans of all ranks in one process. @param routings one per rank of the world. @throws as above.
[[nodiscard]] std::vector<DispatchPlan> plan_megablocks_group(MegaBlocksConfig const& config,
                                                              std::span<RoutingMap const> routings,
                                                              ExpertPlacement const& placement, int layer);

}  // namespace switchyard
