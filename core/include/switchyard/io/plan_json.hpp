// SPDX-License-Identifier: Apache-2.0
/// JSON form of placements and rebalance plans (docs/formats/plan.md). Reading is strict; writing is byte-stable.
#pragma once

#include <string>
#include <string_view>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

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
/// @throws Error{parse} naming file, byte offset, path and value for anything malformed; Error{invalid_plan} when the
/// stored
///         fingerprint is not the plan's. The plan's own proofs are NOT run: see validate().
[[nodiscard]] RebalancePlan rebalance_plan_from_json(std::string_view text, std::string const& source_name);

/// SGLang's and vLLM's `{"physical_to_logical_map": [layers][slots]}`, and our plan files (their `after`).
/// @param num_experts 0 = largest id + 1. @throws Error{parse} as above.
[[nodiscard]] ExpertPlacement placement_from_json(std::string_view text, std::string const& source_name,
                                                  int num_experts, int num_ranks);
[[nodiscard]] std::string to_json(ExpertPlacement const& placement);

}  // namespace switchyard::io
