// SPDX-License-Identifier: Apache-2.0
/// MoveReport: what a rebalance behind the dispatch cost and brought, step by step.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "timeline/timeline_inputs.hpp"

namespace switchyard::cli {

/// @return time that the moves took from the steps, negative where layers on the new map gave back more.
[[nodiscard]] double moving_cost_us(MoveEffect const& effect);
/// @return time that a step is shorter on the new map.
[[nodiscard]] double gain_us(MoveEffect const& effect);
/// @return steps on the new map after which the cost has come back: 0 when there is none, nothing when it never does.
[[nodiscard]] std::optional<double> steps_to_pay(MoveEffect const& effect);

/// @return lines about commits and the effect; empty without moves behind a dispatch.
[[nodiscard]] std::string move_lines(TimelineRun const& run, std::optional<MoveEffect> const& effect);
/// @return an object, null without an effect.
[[nodiscard]] nlohmann::ordered_json effect_json(std::optional<MoveEffect> const& effect);
/// @return [steps] of end, length and the move committed at its end; empty without moves behind a dispatch.
[[nodiscard]] nlohmann::ordered_json steps_json(TimelineRun const& run);

}  // namespace switchyard::cli
