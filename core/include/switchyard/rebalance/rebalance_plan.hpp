// SPDX-License-Identifier: Apache-2.0
/// RebalancePlan: every copy that turns one expert placement into another, as a value that can be checked and replayed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/rebalance/rank_mapping.hpp"
#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// One expert's row leaves this rank. `source_row` is a local row of the old placement.
struct ExpertSend {
  ExpertId expert;
  LocalExpertId source_row;
  RankId to;
  friend bool operator==(ExpertSend const&, ExpertSend const&) = default;
};

/// One expert's row arrives. `target_row` is a local row of the new placement (the expert's primary row there).
struct ExpertReceive {
  ExpertId expert;
  LocalExpertId target_row;
  RankId from;
  friend bool operator==(ExpertReceive const&, ExpertReceive const&) = default;
};

/// A copy inside a rank: from an old row (local copy) or from a freshly received primary row (duplicate).
struct LocalCopy {
  ExpertId expert;
  LocalExpertId source_row;
  LocalExpertId target_row;
  friend bool operator==(LocalCopy const&, LocalCopy const&) = default;
};

/// What one rank does for one layer. Lists are in execution order; all tensors of an expert travel together, in their
/// order.
struct RankTransfers {
  std::vector<ExpertSend> sends;        ///< expert ascending, destinations in vLLM's order
  std::vector<ExpertReceive> receives;  ///< expert ascending
  std::vector<LocalCopy> local_copies;  ///< target row ascending; sources are rows as they were before the move
  std::vector<LocalCopy> duplicates;    ///< target row ascending; source is a primary row after the receives landed
  friend bool operator==(RankTransfers const&, RankTransfers const&) = default;
};

struct LayerTransfers {
  std::vector<RankTransfers> ranks;
  friend bool operator==(LayerTransfers const&, LayerTransfers const&) = default;
};

/// A self-contained plan. Rows that are unchanged or empty in `after` appear in no list and are never written.
struct RebalancePlan {
  static constexpr int kSchemaVersion = 1;

  ExpertPlacement before;  ///< in the group's slot space (expanded when scaling)
  ExpertPlacement after;
  RankMapping mapping{};
  std::vector<LayerTransfers> layers;

  /// Digest of every field above. Two plans with the same fingerprint move the same bytes.
  [[nodiscard]] Fingerprint fingerprint() const;
  friend bool operator==(RebalancePlan const&, RebalancePlan const&) = default;
};

/// Totals of a plan, in experts (rows over all their tensors).
struct RebalanceTotals {
  std::int64_t network_copies = 0;  ///< sends over all ranks and layers
  std::int64_t local_copies = 0;
  std::int64_t duplicates = 0;
  std::int64_t unchanged = 0;          ///< slots that keep their expert; empty slots are not counted
  std::int64_t max_sends_of_rank = 0;  ///< over layers together
  std::int64_t max_receives_of_rank = 0;
};
[[nodiscard]] RebalanceTotals totals(RebalancePlan const& plan);

/// A broken rule of a request or of a plan; names are part of the CLI's output and of the golden format.
enum class PlanRule {
  shape_mismatch,     ///< placements, layers or ranks disagree in size
  invalid_mapping,    ///< the rank mapping is not injective, leaves its range, or contradicts the placements
  id_out_of_range,    ///< an expert, rank or row outside its range
  missing_source,     ///< an expert in `after` that no rank holds in `before`
  lost_expert,        ///< an expert of `before` without a slot in `after`: legal, reported on demand only
  wrong_source,       ///< a send, copy or duplicate whose source row does not hold that expert at that time
  wrong_target,       ///< a receive, copy or duplicate whose target row must not get, or did not get, that expert
  unwritten_row,      ///< a row that must change and that nothing writes
  written_twice,      ///< a row that two operations write
  unmatched_send,     ///< a send without its receive
  unmatched_receive,  ///< a receive without its send
  order_mismatch,     ///< messages of one (source, destination) pair in different order at the two ends
  self_transfer,      ///< a rank that sends to itself
  dead_rank,          ///< a rank that is stated to be dead takes part
  wrong_reload,       ///< the list of slots to reload contradicts the placements
  busy_port,          ///< a rank sends or receives more often in a round than its links allow
  busy_row,           ///< a row is written and also read or written again in one round
  last_copy,          ///< the only complete copy of an expert that is still needed is overwritten
  wrong_claim,        ///< a stated bound, its witness, a limit or the stated number of spare rows is not right
};
[[nodiscard]] std::string_view to_string(PlanRule rule) noexcept;

struct PlanViolation {
  PlanRule rule;
  int layer;         ///< -1 when it concerns the whole plan
  RankId rank;       ///< -1 when it concerns no single rank
  std::string text;  ///< one sentence with the values
};

/// Says why a move cannot be planned: sizes that do not fit the mode, a bad mapping, ids outside [-1, num_experts), an
/// expert that must appear but that no rank of the group holds. Only -1 means an empty slot.
/// @return every violation, in layer order; empty exactly when plan_rebalance() accepts the same arguments. Wrong sizes
///         or a bad mapping are reported alone, because nothing behind them can be read.
/// @note pure; O(layers * slots log slots).
[[nodiscard]] std::vector<PlanViolation> check_request(ExpertPlacement const& before, ExpertPlacement const& after,
                                                       RankMapping const& mapping = {});

/// Plans the move with vLLM's arithmetic: senders and receivers per expert ascending by rank, |D| div |S| receivers
/// each, the remainder from the end of D to the first senders; a rank that already holds the expert copies locally;
/// further slots of a received expert are duplicated after the receive.
/// @throws Error{shape_mismatch} or Error{invalid_argument} as expand_placements(); Error{invalid_placement} for ids
///         out of range; Error{missing_source} when an expert must move but nobody holds it (every such expert is
///         listed).
/// @note pure; O(layers * (slots log slots + experts)). Source: vLLM rebalance_execute.py (move_to_buffer,
///       move_from_buffer); unlike it an expert without a source is refused instead of copying a stale buffer row
///       (hazards H1, H2). An expert of `before` that `after` no longer has is legal here; validate() can report it.
[[nodiscard]] RebalancePlan plan_rebalance(ExpertPlacement const& before, ExpertPlacement const& after,
                                           RankMapping const& mapping = {});

/// @return the placement before the move in the old ranks' slot space: `before` without the empty blocks of joining
///         ranks. An old rank that drops out while others join (mapping -1 in scale_up) has no slots left in it.
/// @throws Error{invalid_argument} if the mapping does not fit the plan.
[[nodiscard]] ExpertPlacement start_placement(RebalancePlan const& plan);

/// @return the placement that the group has when the move is done, in the new ranks' slot space: `after` without the
///         empty blocks of leaving ranks. @throws Error{invalid_argument} if the mapping does not fit the plan.
[[nodiscard]] ExpertPlacement target_placement(RebalancePlan const& plan);

/// Proves the plan from its own placements, without the planner's arithmetic: replays every list on symbolic rows.
/// @param every_expert_must_stay also report lost_expert.
/// @return every violation found, in (layer, rank) order; empty for a plan that turns `before` into `after`.
/// @note O(layers * (slots + transfers) log); pure.
[[nodiscard]] std::vector<PlanViolation> validate(RebalancePlan const& plan, bool every_expert_must_stay = false);

/// @throws Error{invalid_plan} naming the number of violations and the first ones.
void require_valid(RebalancePlan const& plan);

/// Replays one layer on symbolic rows.
/// @return [slots] the slot of `before` whose bytes each slot holds after the move; a row that nothing writes keeps its
///         own. @throws Error{invalid_plan} if the layer breaks a rule, Error{invalid_argument} for a layer outside the
///         plan.
[[nodiscard]] std::vector<SlotId> provenance(RebalancePlan const& plan, int layer);

}  // namespace switchyard
