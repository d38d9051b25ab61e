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

/// @throws Error{invalid_placement} listing every id outside [-1, num_experts) of either placement.
void require_good_ids(ExpertPlacement const& before, ExpertPlacement const& after);
/// @throws Error{missing_source} listing every expert of `after` that `before` does not hold.
void require_sources(ExpandedPlacements const& placements);

/// What every plan with placements, mapping and layers must get right: sizes (alone when they are wrong), then mapping,
/// ids and sources. @param num_layers how many layers of transfers the plan lists.
struct PlanFrame {
  ExpertPlacement const& before;
  ExpertPlacement const& after;
  RankMapping const& mapping;
  std::size_t num_layers;
};
[[nodiscard]] std::vector<PlanViolation> find_frame_size_problems(PlanFrame const& frame);
[[nodiscard]] std::vector<PlanViolation> find_frame_problems(PlanFrame const& frame);
/// The placement after the move in the new ranks' slot space. @throws Error{invalid_argument} if the mapping does not
/// fit.
[[nodiscard]] ExpertPlacement target_of(ExpertPlacement const& after, RankMapping const& mapping);

/// @throws Error{invalid_plan} unless `violations` is empty, with their number and the first ones.
void require_none(std::vector<PlanViolation> const& violations);

}  // namespace switchyard::rebalance
