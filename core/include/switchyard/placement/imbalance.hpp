// SPDX-License-Identifier: Apache-2.0
/// Imbalance figures under names that cannot be confused, and the bounds they are measured against.
#pragma once

#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard {

/// Figures of one layer. A replica carries an even share of its expert's load. Loads in the unit of ExpertLoad.
struct LayerImbalance {
  double max_rank_load = 0;
  double mean_rank_load = 0;
  double par = 1;     ///< peak-to-average ratio, max / mean over ranks, >= 1; 1 for a layer without load
  double excess = 0;  ///< (max - mean) / mean, TensorRT-LLM's figure = par - 1
  /// Even-split bound max(mean, min-max replica load) / mean: no placement of every expert in as many slots is below.
  double lower_bound_par = 1;
  /// Expected PAR of perfectly balanced random routing with this many tokens per rank: see sampling_noise_floor().
  double noise_floor_par = 1;
};

/// Figures of all layers.
struct ImbalanceReport {
  std::vector<LayerImbalance> layers;
  double mean_par = 1;  ///< mean over layers
  double max_par = 1;
  double min_par = 1;
  double vllm_balancedness = 1;  ///< sum over layers of mean rank load / sum over layers of max rank load, in (0, 1]
};

/// @param load summed over its steps first. @throws Error{shape_mismatch} if layers or experts differ,
///        Error{invalid_placement} if an expert with load has no slot.
[[nodiscard]] ImbalanceReport measure_imbalance(ExpertLoad const& load, ExpertPlacement const& placement);

/// Expected PAR of `num_ranks` ranks whose loads are balanced in expectation and multinomial with `mean_tokens` each:
/// 1 + E[max of n standard normals] * sqrt((1 - 1/n) / mean).
/// @return 1 for one rank or no tokens.
[[nodiscard]] double sampling_noise_floor(int num_ranks, double mean_tokens);

}  // namespace switchyard
