// SPDX-License-Identifier: Apache-2.0
/// DispatchPlan: everything one rank does to bring its tokens to the experts and the results back, as a value.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/dispatch_stage.hpp"
#include "switchyard/dispatch/expert_parallel_grid.hpp"
#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// Which peer's composition of stages a plan follows. The numbers are part of the file format.
enum class DispatchFamily : std::uint8_t {
  megatron_alltoall,   ///< permute, exchange over EP, gather over TP, sort chunks
  megatron_allgather,  ///< gather all tokens over the world, expand to local experts
  megatron_flex,       ///< permute to one row per (destination rank, token), exchange over the world, expand
  megablocks,          ///< permute, repeat for hidden shards, exchange, sort by local expert, bin
};
[[nodiscard]] std::string_view to_string(DispatchFamily family) noexcept;

/// The order of the rows an expert sees. Never arrival order.
enum class RowOrder : std::uint8_t {
  rank_major,  ///< (local expert, source rank, token, slot): AllGather, Flex, MegaBlocks
  tp_major,    ///< (local expert, source tp, source ep, token, slot): Megatron AlltoAll
};
[[nodiscard]] std::string_view to_string(RowOrder order) noexcept;

/// How the way back undoes a chunk sort.
enum class ChunkRestore : std::uint8_t {
  inverse,        ///< exactly: every row returns to where it came from
  megatron_seed,  ///< the defect of Megatron-Core in spring 2025 (commit dab7723821), for comparison with it only: it
                  ///< cuts the sorted rows by sizes in (local expert, source ep, source tp) order although they lie in
                  ///< (local expert, source tp, source ep) order, so with TP > 1, EP > 1, several local experts and
                  ///< unequal counts tokens get other tokens' rows back
};
[[nodiscard]] std::string_view to_string(ChunkRestore restore) noexcept;

/// How the rows of an expert lie in memory (MegaBlocks). Empty rows are zeros.
enum class ExpertBins : std::uint8_t {
  exact,     ///< rows follow each other (dMoE, grouped GEMM)
  capacity,  ///< every expert has a bin of equal size; rows that do not fit are dropped (MoE)
  blocks,    ///< every expert is filled up to whole blocks of rows (dMoE, block-sparse)
};
[[nodiscard]] std::string_view to_string(ExpertBins bins) noexcept;

/// What every rank of a group must agree on before data moves.
struct DispatchSetup {
  DispatchFamily family = DispatchFamily::megatron_alltoall;
  RowOrder row_order = RowOrder::tp_major;
  ChunkRestore restore = ChunkRestore::inverse;
  ExpertParallelGrid grid{};
  int layer = 0;
  int num_experts = 0;    ///< logical experts
  int num_slots = 0;      ///< physical slots over all EP ranks (over all expert blocks, for megablocks)
  Fingerprint placement;  ///< digest of this layer's slots and of the slot layout
  int hidden_shards = 1;  ///< megablocks only: rank d owns expert block d mod (world / shards), shard d div that
  ExpertBins bins = ExpertBins::exact;  ///< anything else in megablocks only
  std::int64_t block_rows = 0;          ///< ExpertBins::blocks only

  [[nodiscard]] Fingerprint fingerprint() const;
  friend bool operator==(DispatchSetup const&, DispatchSetup const&) = default;
};

/// How many rows an expert takes from one source rank, when the routing was limited (see apply_capacity). For
/// megablocks the size of an expert's bin, all sources together, when it follows from a factor and not from the rows
/// that came.
struct CapacityLimit {
  std::int64_t rows = 0;
  bool padded = false;  ///< every (source rank, expert) block has exactly `rows` rows
  friend bool operator==(CapacityLimit const&, CapacityLimit const&) = default;
};

/// One rank's part of a dispatch. Host integers only, 64-bit; immutable once made, usable for any number of forward and
/// combine calls.
///
/// `stages` run in order for a dispatch. A combine runs a path inverted, in reverse order. There are two ways back:
/// - row by row: return_path() leads from a (token, slot) row at the source to an expert row, so that inverted it
/// brings
///   every expert row home. Recipes that sum at the source (MultiplyAt::source_rank) need it. It is `stages` itself for
///   megatron_alltoall and megablocks. megatron_allgather and megatron_flex have no single rows on the wire, so their
///   planners give the path of an AlltoAll of the same rows and row order as `row_return`; its TP gather joins the
///   partials of TP ranks, its exchange moves every row once.
/// - partial by partial: `stages` inverted, one row per (rank, token) on the wire. Recipes that sum at the expert rank
///   first (MultiplyAt::expert_rank) use it with megatron_allgather and megatron_flex.
struct DispatchPlan {
  static constexpr int kSchemaVersion = 1;

  DispatchSetup setup{};
  RankId rank{};
  int first_slot = 0;             ///< physical slot of this rank's local expert 0
  std::int64_t num_tokens = 0;    ///< T of this rank
  std::int64_t slot_columns = 0;  ///< columns of the weight matrix [T, slot_columns]: K, or the experts of a dense map
  std::optional<CapacityLimit> capacity{};
  std::vector<std::int64_t> rows_per_slot;  ///< [num_slots] rows this rank sends to every physical slot
  std::vector<std::int64_t>
      tokens_per_local_expert;  ///< [local slots] rows of each expert's block, empty bins included
  std::vector<DispatchStage> stages;
  std::vector<DispatchStage> row_return{};  ///< see above; empty where `stages` serves

  [[nodiscard]] int num_local_experts() const noexcept { return static_cast<int>(tokens_per_local_expert.size()); }
  /// Rows the local experts see.
  [[nodiscard]] std::int64_t num_expert_rows() const;
  /// The stage of type Stage, or null when this plan does without it.
  template <typename Stage>
  [[nodiscard]] Stage const* find() const noexcept {
    for (auto const& stage : stages)
      if (auto const* found = std::get_if<Stage>(&stage)) return found;
    return nullptr;
  }

  /// Digest of every field above.
  [[nodiscard]] Fingerprint fingerprint() const;
  friend bool operator==(DispatchPlan const&, DispatchPlan const&) = default;
};

/// @return the path between (token, slot) rows and expert rows; its first stage is the source's RowGather, whose lists
/// say which rows a token adds. See DispatchPlan.
[[nodiscard]] std::vector<DispatchStage> const& return_path(DispatchPlan const& plan) noexcept;

/// @return [local slots] how many rows of each local expert's block hold a token: less than tokens_per_local_expert
/// where bins are not full. @throws Error{invalid_plan} when the plan's last stage has fewer rows than the blocks.
[[nodiscard]] std::vector<std::int64_t> filled_rows(DispatchPlan const& plan);

/// @return the sort that the combine runs for `sort`, a stage of a plan with this setup. @throws Error{invalid_plan}
/// when the stage does not fit the setup.
[[nodiscard]] ChunkSort restoring_sort(DispatchSetup const& setup, ChunkSort const& sort);

/// A broken rule of a plan or of a group of plans; the names are part of the CLI's output.
enum class DispatchRule {
  shape_mismatch,      ///< lengths or sizes inside one plan disagree
  index_out_of_range,  ///< a token, slot, row, chunk or rank outside its range, or a negative count
  not_inverse,         ///< row -> token and token -> rows do not describe the same gather
  not_a_permutation,   ///< a chunk order that misses or repeats a chunk
  wrong_order,         ///< stages, or chunks of a sort, in another order than the plan's family and row order say
  outside_group,       ///< rows for a rank outside the EP lane or TP group
  rows_not_conserved,  ///< a stage hands on another number of rows than the next one takes
  setup_mismatch,      ///< plans of one group disagree in what all ranks must share
  pair_mismatch,       ///< a rank sends another number of rows than its peer expects
  count_mismatch,      ///< an expert receives another number of rows than its sources sent to it
  wrong_rows,          ///< an expert receives other rows than its sources sent to it
};
[[nodiscard]] std::string_view to_string(DispatchRule rule) noexcept;

struct DispatchViolation {
  DispatchRule rule;
  RankId rank;       ///< the rank whose plan is at fault (the receiver for pairs)
  std::string text;  ///< one sentence with the values
};

/// Checks one plan against itself: every rule above that needs no other rank. Safe on any value, however broken.
/// @return every kind of violation found (each list names its first offender), empty for a sound plan. O(plan size).
[[nodiscard]] std::vector<DispatchViolation> validate(DispatchPlan const& plan);

/// Checks the plans of all ranks, rank ascending: each alone, then the conservation laws between them.
[[nodiscard]] std::vector<DispatchViolation> validate_group(std::span<DispatchPlan const> plans);

/// @throws Error{invalid_plan} naming the number of violations and the first ones.
void require_valid(DispatchPlan const& plan);

}  // namespace switchyard
