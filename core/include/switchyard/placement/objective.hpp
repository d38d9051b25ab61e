// SPDX-License-Identifier: Apache-2.0
/// What a placement costs under the objective, the speeds and the dead ranks of a PolicyRequest; and load windows.
#pragma once

#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard {

/// One step whose loads are the statistic of the given steps, expert by expert.
///
/// mean = sum / S, steps ascending; deviation = square root of the mean squared distance from it (divisor S);
/// percentile p = the ceil(p/100 * S)-th smallest value, so a value that was recorded.
/// @throws Error{invalid_argument} for deviations that are negative or not finite, or a percentile outside (0, 100].
/// @note pure; O(values log steps).
[[nodiscard]] ExpertLoad reduce_window(ExpertLoad const& load, LoadWindow const& window);

/// What one slot adds to its rank's figure when its expert has `live_replicas` live slots, mean over the load's steps.
///
/// A replica takes an even share w/c of a step's load w. tokens: the share. activated_experts: min(1, w/c), since at
/// most w of c replicas can receive a token. time: per_expert * the latter + per_token * the former.
/// @pre live_replicas >= 1. @note pure; O(steps). Additive over the slots of a rank, so a search may update it.
[[nodiscard]] double slot_figure(PlacementObjective const& objective, ExpertLoad const& load, int layer,
                                 ExpertId expert, int live_replicas);

/// Figures of one layer.
struct LayerObjective {
  std::vector<double> rank_figures;  ///< [ranks] (base + sum of slot figures) / speed; 0 for a dead rank
  RankId worst_rank{0};              ///< the largest figure's rank, the lowest on a tie
  double max_figure = 0;
  double even_figure =
      0;             ///< the slots' work spread over the live ranks' speeds: sum of (figure * speed) / sum of speeds
  double ratio = 1;  ///< max / even, 1 for a layer without work; PAR for tokens and equal speeds
};

/// Figures of all layers.
struct ObjectiveReport {
  std::vector<LayerObjective> layers;
  double mean_ratio = 1;
  double max_ratio = 1;
  double total_figure = 0;  ///< sum over layers of max_figure: what a step waits for
};

/// The objective of `request` on a placement. For tokens the steps of the load are reduced by request.window first;
/// the other objectives are evaluated in every step and averaged, because an expert is activated in a step. Slots of
/// dead ranks serve nothing: their experts' other replicas carry the load.
/// @throws Error{shape_mismatch} if load, placement and request differ in size, Error{invalid_placement} if an expert
///         with load has no live slot, Error{invalid_argument} for a window with an objective other than tokens.
[[nodiscard]] ObjectiveReport measure_objective(ExpertLoad const& load, ExpertPlacement const& placement,
                                                PolicyRequest const& request);

}  // namespace switchyard
