// SPDX-License-Identifier: Apache-2.0
/// The index lists of a combine that a plan implies and every executor needs: which partials a token adds, in which
/// order, and who joins which rows. Pure functions of a valid plan.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::internal {

/// What one rank sends to and gets from every rank, in rows of partials, and which partials a token adds.
struct PartialPath {
  std::vector<std::int64_t> held;      ///< [world] carried rows per source rank, in the order they lie here
  std::vector<std::int64_t> returned;  ///< [world] partials that each rank has for this rank's tokens
  std::vector<std::int64_t> begin;     ///< [T + 1] offsets into partials
  std::vector<std::int64_t> partials;  ///< of every token, ranks ascending; rows of the concatenated `returned`
};

/// Whether partials travel between the plan's rank and `peer`: within a lane when TP partials were joined, else always.
[[nodiscard]] bool exchanges_partials(DispatchPlan const& plan, TpJoin join, RankId peer) noexcept;

/// @param plan of a family whose wire carries one row per (rank, token).
[[nodiscard]] PartialPath partial_path(DispatchPlan const& plan, TpJoin join);

/// The plan's rank's share of the `rows` expert rows of its TP group: contiguous blocks, TP ranks ascending.
[[nodiscard]] GroupGather share_of_rows(DispatchPlan const& plan, std::int64_t rows);

/// `gather` with the rows of every token by logical expert ascending, equal ones by slot.
/// @param experts [T * slot_columns], or empty for a dense routing. @throws Error{shape_mismatch, invalid_argument}
[[nodiscard]] RowGather ordered_by_expert(DispatchPlan const& plan, RowGather gather,
                                          std::span<std::int32_t const> experts);

/// The sums of ranks that a source makes of single rows: rank_partial there. Which rank holds a row's expert follows
/// from the exchange that brings the row home.
struct RankSums {
  RowGather rows;                           ///< a token's rows ascending: by rank, then local expert, then slot
  std::vector<std::int64_t> row_begin;      ///< [P + 1] of the sum of one (token, rank); offsets into rows_of_token
  std::vector<std::int64_t> partial_begin;  ///< [T + 1] a token's sums, ranks ascending; ranks without rows have none
};
[[nodiscard]] RankSums rank_sums(DispatchPlan const& plan);

/// The ranks whose rows a GroupGather of this plan collects, ascending.
[[nodiscard]] std::vector<RankId> ranks_of_group(DispatchPlan const& plan, GatherGroup kind);

/// Nothing without a bias. @param space device, or anything else for memory that the host reads
/// @throws Error{invalid_argument} for a bias where no TP partials are joined, Error{unsupported} for a recipe that
/// joins none, Error{shape_mismatch} unless it is [local experts, hidden], contiguous there.
void require_join_bias(DispatchPlan const& plan, CombineRecipe const& recipe,
                       std::optional<ConstTensorView> const& bias, std::int64_t hidden, MemorySpace space);

/// Digest of what ranks compare before rows move: the plan's setup, the dtypes and the hidden size.
[[nodiscard]] std::uint64_t payload_digest(DispatchPlan const& plan, DType moved, DType result, std::int64_t hidden);
/// The same with the recipe, the weights' type and the route.
[[nodiscard]] std::uint64_t recipe_digest(std::uint64_t configuration, CombineRecipe const& recipe, bool weights_f64,
                                          bool partials);

}  // namespace switchyard::internal
