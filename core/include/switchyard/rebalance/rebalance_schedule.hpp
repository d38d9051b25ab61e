// SPDX-License-Identifier: Apache-2.0
/// RebalanceSchedule: a rebalance as numbered rounds of row transfers, with the facts that prove its order.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/reload_list.hpp"
#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// A row of a rank is one of its slots, [0, slots), or one of its spare rows, [slots, slots + spare rows).
/// One expert's row travels between two ranks; all its tensors travel together.
struct RowTransfer {
  ExpertId expert;
  RankId from;
  LocalExpertId source_row;
  RankId to;
  LocalExpertId target_row;
  friend bool operator==(RowTransfer const&, RowTransfer const&) = default;
};

/// A copy between two rows of one rank.
struct RowCopy {
  ExpertId expert;
  RankId rank;
  LocalExpertId source_row;
  LocalExpertId target_row;
  friend bool operator==(RowCopy const&, RowCopy const&) = default;
};

/// All transfers of a round are under way together: they read rows as the round finds them. When all have arrived on
/// all ranks, every rank does its copies, one after the other.
struct TransferRound {
  std::vector<RowTransfer> transfers;  ///< ascending by (from, to, expert)
  std::vector<RowCopy> copies;         ///< ascending by rank; in the order of execution within one
  friend bool operator==(TransferRound const&, TransferRound const&) = default;
};

/// Why no schedule of a layer can have fewer rounds; a reader checks it by counting (see RoundBound).
enum class BoundKind {
  none,     ///< nothing has to travel
  receive,  ///< one rank needs so many experts that it does not hold
  node,     ///< the ranks of one node need so many experts that none of them holds
  send,     ///< so many experts that somebody needs are held by these ranks only
  spread,   ///< the copies of one expert cannot multiply faster
};
[[nodiscard]] std::string_view to_string(BoundKind kind) noexcept;

/// A lower bound on the rounds of a layer with its witness: who must receive or send, or which expert must spread.
struct RoundBound {
  BoundKind kind = BoundKind::none;
  int rounds = 0;
  std::vector<RankId> ranks{};  ///< ascending; the ranks whose ports are the bottleneck (not for `spread`)
  ExpertId expert = kNoExpert;  ///< for `spread`
  friend bool operator==(RoundBound const&, RoundBound const&) = default;
};

struct LayerSchedule {
  std::vector<TransferRound> rounds;
  std::vector<RowCopy> commit;  ///< after the last round; ascending by rank, in the order of execution within one
  RoundBound bound{};
  int spare_rows_used = 0;  ///< of the rank that needs most
  friend bool operator==(LayerSchedule const&, LayerSchedule const&) = default;
};

/// What a schedule keeps to. Every rank has ports for both directions at once (full duplex).
struct ScheduleLimits {
  static constexpr int kFullyBuffered = -1;  ///< as many spare rows as slots; slots stay untouched until the commit

  int num_nodes = 0;                ///< consecutive ranks share a node; 0 = every rank is a node of its own
  int intra_per_round = 1;          ///< transfers inside a node per rank, direction and round; over the network it is 1
  int max_transfers_per_round = 0;  ///< of the whole group; 0 = no limit
  int spare_rows = kFullyBuffered;
  friend bool operator==(ScheduleLimits const&, ScheduleLimits const&) = default;
};

/// A self-contained, scheduled rebalance. Rows of dead ranks, rows that are unchanged and rows that are empty in
/// `after` are never written.
struct RebalanceSchedule {
  static constexpr int kSchemaVersion = 1;

  ExpertPlacement before;  ///< in the group's slot space; slots of dead ranks are empty
  ExpertPlacement after;   ///< likewise; slots to be reloaded are empty too
  RankMapping mapping{};
  std::vector<RankId> dead_ranks{};  ///< ascending, without duplicates
  std::vector<Reload> reloads{};     ///< ascending by layer, then slot
  ScheduleLimits limits{};
  std::int64_t expert_bytes = 0;  ///< of the largest layer, as the planner was told; 0 = not told
  std::vector<LayerSchedule> layers{};

  /// @return the spare rows that `rank` may use: what the limits say, but no more than it has slots (and at least 1).
  /// @throws Error{invalid_argument} for a rank outside the group.
  [[nodiscard]] int spare_rows_of(RankId rank) const;
  /// Digest of every field above.
  [[nodiscard]] Fingerprint fingerprint() const;
  friend bool operator==(RebalanceSchedule const&, RebalanceSchedule const&) = default;
};

/// @return whether the layer writes no slot before its commit: it can be served from the old placement until then.
[[nodiscard]] bool is_buffered(RebalanceSchedule const& schedule, int layer);

/// Speeds of one port, in bytes per microsecond (50,000 = 50 GB/s).
struct LinkRates {
  std::int64_t network_bytes_per_us = 50'000;
  std::int64_t intra_bytes_per_us = 450'000;
  friend bool operator==(LinkRates const&, LinkRates const&) = default;
};

/// What a schedule costs. Times assume rounds one after the other, layers one after the other, and no start-up cost.
struct ScheduleTotals {
  std::int64_t rounds = 0;        ///< over all layers
  std::int64_t bound_rounds = 0;  ///< sum of the layers' lower bounds
  std::int64_t max_degree = 0;    ///< sum over layers of the most transfers that one rank sends or receives per tier,
                                  ///< divided by what the tier takes per round
  std::int64_t network_transfers = 0;
  std::int64_t intra_transfers = 0;
  std::int64_t copies = 0;
  std::int64_t max_sends_of_rank = 0;     ///< over layers together
  std::int64_t max_receives_of_rank = 0;  ///< over layers together
  int spare_rows_used = 0;                ///< of the rank and layer that need most
  std::int64_t peak_extra_bytes = 0;      ///< spare_rows_used * expert_bytes
  std::int64_t makespan_ns = 0;
  std::int64_t bound_ns = 0;  ///< a lower bound on the makespan: per layer the busiest port of the receivers
};
/// @throws Error{invalid_argument} for rates below 1 or times beyond 64 bits. @note O(transfers); pure.
[[nodiscard]] ScheduleTotals totals(RebalanceSchedule const& schedule, LinkRates const& rates = {});

/// Proves the schedule from its own placements, without the planner's code: sizes, mapping, dead ranks and reloads;
/// then every layer on symbolic rows: no port is used more often in a round than the limits say; every row that is read
/// holds the expert; no row is read and written, or written twice, in one round; a row that holds its final expert is
/// not written any more; at every instant, however ranks interleave, every expert that `after` needs has a complete
/// copy; at the end every row holds what `after` says; the stated bound and spare rows are right.
/// @return every violation found, in layer order; empty for a schedule that turns `before` into `after`.
/// @note O(layers * (slots + transfers) log); pure.
[[nodiscard]] std::vector<PlanViolation> validate(RebalanceSchedule const& schedule);
/// @throws Error{invalid_plan} naming the number of violations and the first ones.
void require_valid(RebalanceSchedule const& schedule);

/// What every row of every rank holds at one point of one layer.
struct RowContents {
  std::vector<std::vector<ExpertId>> rows;  ///< [ranks][slots, then spare rows]; -1 = empty or unknown
};
/// @param rounds_done so many rounds are complete, copies included; more than the layer's rounds = committed too.
/// @param next_round_started the rows that the next round receives into count as unknown.
/// @throws Error{invalid_argument} for a layer outside the schedule. The schedule must be valid.
/// @note pure; what survivors of an interrupted rebalance agree on.
[[nodiscard]] RowContents contents_after(RebalanceSchedule const& schedule, int layer, int rounds_done,
                                         bool next_round_started = false);

/// @return the placement that the group has when the move is done, in the new ranks' slot space; slots to be reloaded
///         are still empty. @throws Error{invalid_argument} if the mapping does not fit.
[[nodiscard]] ExpertPlacement target_placement(RebalanceSchedule const& schedule);

}  // namespace switchyard
