// SPDX-License-Identifier: Apache-2.0
/// JSON form of placements, rebalance plans and schedules (docs/formats/plan.md). Reading is strict; writing is
/// byte-stable.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"

namespace switchyard::io {

/// Facts about a plan that do not change what it moves; they are not part of the fingerprint.
struct PlanNotes {
  std::string tool;    ///< program and version that wrote the file
  std::string policy;  ///< policy that made `after`
  std::string load;    ///< where the loads came from
};

/// @return the text, with schema_version, fingerprint, sizes, both placements and every rank's lists. Same plan, same
/// bytes.
[[nodiscard]] std::string to_json(RebalancePlan const& plan, PlanNotes const& notes = {});

/// Reads what to_json writes. @param source_name the file's name for messages.
/// @throws Error{parse} naming file, byte offset, path and value for anything malformed, unknown members included;
///         Error{invalid_plan} when the stored fingerprint is not the plan's. The plan's own proofs are NOT run: see
///         validate().
[[nodiscard]] RebalancePlan rebalance_plan_from_json(std::string_view text, std::string const& source_name);

/// The same for schedules. Slots to be reloaded are listed; their rows in `after` are empty.
[[nodiscard]] std::string to_json(RebalanceSchedule const& schedule, PlanNotes const& notes = {});
[[nodiscard]] RebalanceSchedule rebalance_schedule_from_json(std::string_view text, std::string const& source_name);
/// Reads a plan or a schedule, whichever the file's kind says.
[[nodiscard]] std::variant<RebalancePlan, RebalanceSchedule> rebalance_from_json(std::string_view text,
                                                                                 std::string const& source_name);

/// Reads our placement files, our plan and schedule files (the placement after the move, without ranks that left), and
/// SGLang's and
/// vLLM's `{"physical_to_logical_map": [layers][slots]}`, whose other members are ignored.
/// @param num_experts 0 = what the file says; for a physical_to_logical_map its num_logical_experts or largest id + 1.
/// @param num_ranks   0 = what the file says; a physical_to_logical_map needs it, and its slots must divide by it.
/// @throws Error{parse} as above, also when the file contradicts num_experts or num_ranks; Error{invalid_plan} as
/// above.
[[nodiscard]] ExpertPlacement placement_from_json(std::string_view text, std::string const& source_name,
                                                  int num_experts, int num_ranks);
/// @return the text of a placement file. Same placement, same bytes.
[[nodiscard]] std::string to_json(ExpertPlacement const& placement);

}  // namespace switchyard::io
