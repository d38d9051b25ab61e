// SPDX-License-Identifier: Apache-2.0
/// DispatchRecording: what one rank of somebody's dispatcher computed, and its comparison with the reference planner.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard {

/// A list of integers under its name (see recorded_field_names()).
struct RecordedField {
  std::string name;
  std::vector<std::int64_t> values;
  friend bool operator==(RecordedField const&, RecordedField const&) = default;
};

/// The bins of a MegaBlocks dispatch, see MegaBlocksConfig.
struct RecordedBins {
  ExpertBins kind = ExpertBins::exact;
  std::int64_t block_rows = 0;  ///< of ExpertBins::blocks
  double capacity_factor = 0;   ///< of ExpertBins::capacity
  friend bool operator==(RecordedBins const&, RecordedBins const&) = default;
};

/// One dispatch call on one rank.
struct DispatchRecording {
  RankId rank{};
  ExpertParallelGrid grid{};  ///< for megablocks ep expert blocks and tp hidden shards: rank d has block d mod ep
  DispatchFamily family = DispatchFamily::megatron_alltoall;
  RecordedBins bins{};  ///< megablocks only
  int layer = 0;
  int num_experts = 0;                         ///< logical experts
  RowOrder row_order = RowOrder::tp_major;     ///< of the rows that experts saw
  std::vector<std::int32_t> slots_per_rank{};  ///< [ep] physical slots; empty = experts in contiguous blocks
  std::vector<std::int32_t> slot_to_expert{};  ///< [slots], with slots_per_rank
  RoutingMap routing;                          ///< after drop and pad; weights are not compared
  std::optional<CapacityLimit> capacity{};
  std::vector<RecordedField> fields;
};

/// The names that can be compared, in the order of the comparison, which is that of a dispatcher's own work.
/// docs/formats/recording.md says what they hold and which family has which.
[[nodiscard]] std::span<std::string_view const> recorded_field_names() noexcept;

/// The first integer that differs.
struct RecordingMismatch {
  RankId rank{};
  std::string field;
  std::int64_t index = 0;                  ///< in the flat list
  std::optional<std::int64_t> expected{};  ///< empty: the reference's list ends before
  std::optional<std::int64_t> got{};       ///< empty: the recorded list ends before
};

struct RecordingReport {
  std::int64_t integers_compared = 0;
  std::vector<std::string> fields;  ///< that were compared on at least one rank, in order
  std::optional<RecordingMismatch> first_mismatch{};
};

/// The plans that the reference makes for the recorded routings.
/// @param calls the same call of all ranks, rank ascending.
/// @throws Error{shape_mismatch} when the ranks are not 0 .. world-1 or disagree in what they must share, naming rank
///         and value; Error as the family's planner for a routing or placement that cannot be planned.
[[nodiscard]] std::vector<DispatchPlan> reference_plans(std::span<DispatchRecording const> calls);

/// Every comparable field of a rank's plan as a dispatcher of its family would record it, row tags included.
/// @param plans the group that holds it. Fields that the family lacks, or that Megatron leaves unset (None), are
/// absent.
/// @throws Error{invalid_plan} for an unsound plan; Error{shape_mismatch} when `plans` are no group that holds `rank`.
[[nodiscard]] std::vector<RecordedField> reference_fields(std::span<DispatchPlan const> plans, RankId rank);

/// Compares field by field, in each rank by rank. A recorded field that the reference does not have is a mismatch at
/// index 0. @throws as reference_plans(). @note O(recorded integers) beside the planning.
[[nodiscard]] RecordingReport check_recordings(std::span<DispatchRecording const> calls);
/// The same beside plans that are there already. @param plans reference_plans(calls)
/// @throws Error{shape_mismatch} for another number of plans
[[nodiscard]] RecordingReport check_recordings(std::span<DispatchRecording const> calls,
                                               std::span<DispatchPlan const> plans);

}  // namespace switchyard
