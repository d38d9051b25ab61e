// SPDX-License-Identifier: Apache-2.0
/// ReceiveBudget: how many rows a rank has room for, and what happens when its sources send more.
///
/// Everything is a pure function of the gathered counts, which all ranks hold, so every rank knows without another
/// exchange what every other rank admits. Host integers only: a kernel that reads the same counts decides the same.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/capacity_rule.hpp"
#include "switchyard/dispatch/dispatch_stage.hpp"
#include "switchyard/placement/slot_layout.hpp"

namespace switchyard {

enum class OverflowPolicy : std::uint8_t {
  error,  ///< refuse, naming the rank and the size it needs
  drop,   ///< admit what fits, by a declared rule, and report the rest
  grow,   ///< raise the budget to what is needed
};

/// Which rows a full rank turns away. Inside a (slot, source rank) block always the last ones: the highest tokens.
enum class OverflowRule : std::uint8_t {
  row_order,  ///< the rows behind the budget in (slot, source rank, token, k) order: the last experts lose first
  even,       ///< the longest blocks are cut to one common length; rows left over go to the first blocks that want one
};

struct ReceiveBudget {
  std::int64_t rows = 0;  ///< per EP rank; with TP > 1 all TP ranks of one EP rank see the same rows
  OverflowPolicy policy = OverflowPolicy::error;
  OverflowRule rule = OverflowRule::row_order;  ///< policy drop
  std::int64_t multiple = 1;                    ///< policy grow rounds up to it
};

/// What every EP rank asked for and was given.
struct ReceiveAdmission {
  std::int64_t budget_rows = 0;             ///< the budget that holds: as asked for, or grown
  std::int64_t required_budget = 0;         ///< the smallest budget, rounded up to `multiple`, that fits every rank
  std::vector<std::int64_t> required_rows;  ///< [EP ranks] rows that the sources have for it
  std::vector<std::int64_t> dropped_rows;   ///< [EP ranks] rows turned away
  std::vector<std::int64_t> admitted;       ///< [world * slots] as the gathered counts: what to plan with
};

/// @return [EP ranks] the rows that arrive without a budget: what to allocate, whatever the policy.
/// @param layout slots of every EP rank. @param gathered_counts [world * slots] every rank's rows per slot, rank
///        ascending. @throws Error{shape_mismatch} for another length; Error{invalid_argument} for a negative count or
///        sums over 64 bits. Pure; O(counts).
[[nodiscard]] std::vector<std::int64_t> required_receive_rows(SlotLayout const& layout, int world,
                                                              std::span<std::int64_t const> gathered_counts);

/// Applies `budget` to the counts of a step.
/// @throws as required_receive_rows(); Error{invalid_argument} for a negative budget or multiple < 1;
///         Error{shape_mismatch} with policy error when a rank needs more, naming rank, need and budget.
[[nodiscard]] ReceiveAdmission admit_rows(ReceiveBudget const& budget, SlotLayout const& layout, int world,
                                          std::span<std::int64_t const> gathered_counts);

/// One choice that a full rank turned away.
struct RefusedRow {
  std::int64_t token;
  std::int64_t slot;  ///< k of a top-k routing, the expert of a dense one
  friend bool operator==(RefusedRow const&, RefusedRow const&) = default;
};

/// A source rank's rows after the admission.
struct AdmittedRows {
  RowGather gather;
  std::vector<std::int64_t> rows_per_slot;
  std::vector<RefusedRow> refused;  ///< in row order
};

/// Keeps the first admitted[slot] rows of every slot. @param gather rows by (physical slot, token, k).
/// @param rows_per_slot [slots] as planned. @param admitted [slots] this rank's row of ReceiveAdmission::admitted.
/// @throws Error{shape_mismatch} when the lists disagree; Error{invalid_argument} when more is admitted than there is.
[[nodiscard]] AdmittedRows keep_admitted(RowGather const& gather, std::span<std::int64_t const> rows_per_slot,
                                         std::span<std::int64_t const> admitted);

/// A static budget for a step: floor(tokens * top_k * factor) rounded up to `multiple`. Source: Megatron-Core's
/// moe_expert_rank_capacity_factor, with an exact ratio instead of a double.
/// @throws Error{invalid_argument} for negative sizes, a malformed ratio, multiple < 1, or a product over 64 bits.
[[nodiscard]] std::int64_t receive_budget_rows(std::int64_t num_tokens, int top_k, CapacityRatio factor,
                                               std::int64_t multiple);

}  // namespace switchyard
