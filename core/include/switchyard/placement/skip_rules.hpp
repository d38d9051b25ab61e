// SPDX-License-Identifier: Apache-2.0
/// SkipRules: when a rearrangement, or a layer of it, is not worth its moves.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard {

/// The peers' rules; each is off by default.
struct SkipRules {
  /// SGLang: plan nothing while the mean utilisation of the last `utilisation_passes` recorded is above this. 1: off.
  double max_utilisation = 1;
  int utilisation_passes = 1000;  ///< SGLang keeps windows of 10, 100 and 1,000
  /// MindSpeed: a layer keeps its placement unless its ranks' coefficient of variation falls by at least this (0.08
  /// there). 0: off.
  double min_variation_drop = 0;
  /// vLLM on ROCm: nothing is moved unless the sum over layers of PAR falls by at least this fraction (0.05 there).
  /// 0: off.
  double min_par_gain = 0;
};

enum class SkipReason : std::uint8_t {
  none,           ///< go on
  no_load,        ///< nothing was recorded
  well_utilised,  ///< max_utilisation
  unchanged,      ///< the candidate, or what the rules leave of it, is the current placement
  small_gain,     ///< min_par_gain
};
[[nodiscard]] std::string_view to_string(SkipReason reason) noexcept;

struct SkipVerdict {
  SkipReason reason = SkipReason::none;
  ExpertPlacement placement{};       ///< what to move to: the current one unless reason is none
  std::vector<bool> layers_taken{};  ///< [layers] whose candidate is part of it
};

/// Applies the rules that compare placements: layer by layer, then the whole.
/// @throws Error{shape_mismatch} if load, current and candidate differ in model or in layout,
///         Error{invalid_placement} if one loses an expert with load. @note pure.
[[nodiscard]] SkipVerdict judge_candidate(SkipRules const& rules, ExpertLoad const& load,
                                          ExpertPlacement const& current, ExpertPlacement const& candidate);

/// SGLang's utilisation of one pass: mean over layers of (mean rank + 1e-5) / (largest rank + 1e-5).
/// @param slot_counts [layers * slots] tokens of all ranks together. @throws Error{shape_mismatch} for another length.
[[nodiscard]] double pass_utilisation(std::span<std::int64_t const> slot_counts, ExpertPlacement const& placement);

}  // namespace switchyard
