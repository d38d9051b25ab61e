// SPDX-License-Identifier: Apache-2.0
/// The policy "balanced": replica counts and placement searched together, no expert twice on a rank.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard {

/// How far to search. Budgets count steps, never time: equal input gives equal output on every machine.
struct BalancedOptions {
  double tolerance = 1e-4;    ///< the search of a start ends this close to the lower bound, relatively
  double good_enough = 1e-3;  ///< a result this close is not tried again from another start or other replica counts
  int max_steps = 2000;       ///< changes per start and layer
  std::int64_t pack_work = 100'000;  ///< replicas to pack per layer in trials of other replica counts
  std::int64_t kick_work = 2'000;    ///< slots times restarts from randomly altered best placements, per layer
};

/// What was reached in one layer.
struct BalancedLayer {
  double max_figure = 0;  ///< largest rank figure, as measure_objective() gives it
  /// The best of DeepSeek's plans that the request admits (global, hierarchical); 0 when its rules admit none.
  double deepseek_max_figure = 0;
  int deepseek_duplicates = 0;  ///< slots of that plan that repeat an expert on their rank
  /// DeepSeek's plan is better than this one, and it has duplicates: forbidding them alone stands in the way.
  bool duplicates_alone_win = false;
  int steps = 0;  ///< changes the search made
};

struct BalancedResult {
  ExpertPlacement placement;
  std::vector<BalancedLayer> layers;
};

/// Plans every layer: a greedy start improved by exchanging slots, moving replicas between experts and 3-cycles; where
/// that is not enough, other replica counts packed anew, DeepSeek's plan as another start, and restarts from a randomly
/// altered best (counter-based, so always the same). The best is kept: never above a plan of DeepSeek's without
/// duplicates that the request admits. Fills every slot that it may, unless the objective counts activated experts or
/// time and a replica would only add work, or node limits leave no expert for it.
///
/// Honours every part of the request. With a current placement the ranks are renamed so that the fewest experts move
/// (relabel_ranks(), inside nodes when node limits are set); ranks of unequal speed or slots keep their names.
/// @throws Error{invalid_argument} as validate(PolicyRequest), and when groups do not fit their nodes;
///         Error{shape_mismatch} when the current placement has other ranks or slots than the request.
/// @note pure and deterministic. O(layers * steps * slots * slots per rank).
[[nodiscard]] BalancedResult balance(ExpertLoad const& load, PolicyRequest const& request,
                                     BalancedOptions const& options = {});

}  // namespace switchyard
