// SPDX-License-Identifier: Apache-2.0
#include "timeline/move_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace switchyard::cli {
namespace {

double per_step(MoveEffect const& effect, double us) {
  return us / effect.steps;
}

std::string steps_text(std::int64_t steps) {
  return fmt::format("{} step{}", steps, steps == 1 ? "" : "s");
}

std::string pay_text(MoveEffect const& effect) {
  auto const steps = steps_to_pay(effect);
  if (!steps) return "never made good: steps on the new map are not shorter";
  return fmt::format("made good after {} on the new map", steps_text(static_cast<std::int64_t>(*steps)));
}

}  // namespace

double moving_cost_us(MoveEffect const& effect) {
  return effect.moving_us - effect.before_us;
}

double gain_us(MoveEffect const& effect) {
  return per_step(effect, effect.before_us - effect.after_us);
}

std::optional<double> steps_to_pay(MoveEffect const& effect) {
  double const cost = moving_cost_us(effect), gain = gain_us(effect);
  if (cost <= 0) return 0.0;
  if (gain <= 0) return std::nullopt;
  return std::ceil(cost / gain);
}

std::string move_lines(TimelineRun const& run, std::optional<MoveEffect> const& effect) {
  if (run.spec.moves.empty() || !run.spec.overlap) return {};
  std::string text = fmt::format("moves: {} of {} committed within {}\n", run.summary.moves_committed,
                                 run.spec.moves.size(), steps_text(run.spec.steps));
  if (!effect) return text;
  double const before = per_step(*effect, effect->before_us), after = per_step(*effect, effect->after_us);
  text += fmt::format(
      "a step: {:.1f} us on the old map, {:.1f} us while moving ({}), {:.1f} us on the new map ({:+.1f} %)\n", before,
      per_step(*effect, effect->moving_us), steps_text(effect->steps), after,
      before > 0 ? 100 * (after / before - 1) : 0);
  if (!effect->all_committed) return text + "the new map's step has all moves committed, the steps shown do not\n";
  double const cost = moving_cost_us(*effect);
  if (cost <= 0)
    return text +
           fmt::format("moving cost nothing: layers on the new map gave back {:.1f} us more than it took\n", -cost);
  return text + fmt::format("moving cost {:.1f} us in all, {}\n", cost, pay_text(*effect));
}

nlohmann::ordered_json effect_json(std::optional<MoveEffect> const& effect) {
  if (!effect) return nullptr;
  auto const pays = steps_to_pay(*effect);
  return {{"steps", effect->steps},
          {"all_committed", effect->all_committed},
          {"old_map_step_us", per_step(*effect, effect->before_us)},
          {"moving_step_us", per_step(*effect, effect->moving_us)},
          {"new_map_step_us", per_step(*effect, effect->after_us)},
          {"moving_cost_us", moving_cost_us(*effect)},
          {"gain_us_per_step", gain_us(*effect)},
          {"pays_after_steps", pays ? nlohmann::ordered_json(*pays) : nlohmann::ordered_json(nullptr)}};
}

nlohmann::ordered_json steps_json(TimelineRun const& run) {
  auto list = nlohmann::ordered_json::array();
  auto const& committed = run.timeline.committed_at;
  double before_us = 0;
  for (std::size_t step = 0; step < run.summary.step_end_us.size(); ++step) {
    double const end_us = run.summary.step_end_us[step];
    auto const found = std::find(committed.begin(), committed.end(), static_cast<int>(step));
    nlohmann::ordered_json name = nullptr;
    if (found != committed.end()) name = run.spec.moves[static_cast<std::size_t>(found - committed.begin())].name;
    list.push_back({{"step", step}, {"end_us", end_us}, {"us", end_us - before_us}, {"committed", name}});
    before_us = end_us;
  }
  return list;
}

}  // namespace switchyard::cli
