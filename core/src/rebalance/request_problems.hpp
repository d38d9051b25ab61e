// SPDX-License-Identifier: Apache-2.0
/// What can be wrong with a rebalance request, one finder per kind; shared by planning, checking and proving.
#pragma once

#include <vector>

#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::rebalance {

/// @return shape_mismatch and invalid_mapping violations; expand() below is defined exactly when there are none.
[[nodiscard]] std::vector<PlanViolation> find_size_problems(ExpertPlacement const& before, ExpertPlacement const& after,
                                                            RankMapping const& mapping);

/// expand_placements() without its checks.
[[nodiscard]] ExpandedPlacements expand(ExpertPlacement const& before, ExpertPlacement const& after,
                                        RankMapping const& mapping);

/// Appends id_out_of_range violations of one placement. @param role "before" or "after", for the text.
void find_bad_ids(ExpertPlacement const& placement, std::string_view role, std::vector<PlanViolation>& out);

/// Appends one violation of `rule` per layer and expert that is in `wanted` and not in `present` (-1 left out).
void find_absent_experts(ExpertPlacement const& wanted, ExpertPlacement const& present, PlanRule rule,
                         std::vector<PlanViolation>& out);

}  // namespace switchyard::rebalance
