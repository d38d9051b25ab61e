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

/// One dispatch call on one rank.
struct DispatchRecording {
  RankId rank{};
  ExpertParallelGrid grid{};
  int layer = 0;
  int num_experts = 0;                         ///< logical experts
  RowOrder row_order = RowOrder::tp_major;     ///< of the rows that experts saw
  std::vector<std::int32_t> slots_per_rank{};  ///< [ep] physical slots; empty = experts in contiguous blocks
  std::vector<std::int32_t> slot_to_expert{};  ///< [slots], with slots_per_rank
  RoutingMap routing;                          ///< after drop and pad; weights are not compared
  std::optional<CapacityLimit> capacity{};
  std::vector<RecordedField> fields;
};

/// The names that can be compared, in the order of the comparison, which is that of a dispatcher's own work:
/// rows_per_slot, num_out_tokens, permutation, input_splits, output_splits, output_splits_tp,
/// num_global_tokens_per_local_expert, tokens_per_local_expert, sort_input_by_local_experts,
/// restore_output_by_local_experts (all as MegatronMetadata has them) and row_tags: source rank and token of every row
/// the experts saw, as pairs.
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
///         and value; Error as plan_alltoall_group() for a routing or placement that cannot be planned.
[[nodiscard]] std::vector<DispatchPlan> reference_plans(std::span<DispatchRecording const> calls);

/// Every comparable field of `plan` as a dispatcher would record it. @param plans the group that holds it.
/// Fields that Megatron leaves unset (None) are absent; with rank_major rows only those of that order are there.
[[nodiscard]] std::vector<RecordedField> reference_fields(std::span<DispatchPlan const> plans, RankId rank);

/// Compares field by field, in each rank by rank. A recorded field that the reference does not have is a mismatch at
/// index 0. @throws as reference_plans(). @note O(recorded integers) beside the planning.
[[nodiscard]] RecordingReport check_recordings(std::span<DispatchRecording const> calls);

}  // namespace switchyard
