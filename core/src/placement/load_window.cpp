// SPDX-License-Identifier: Apache-2.0
/// reduce_window: the steps of a load as one number per expert.
#include <algorithm>
#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/objective.hpp"

namespace switchyard {

namespace {

void require_window(LoadWindow const& window) {
  SWITCHYARD_REQUIRE(std::isfinite(window.deviations) && window.deviations >= 0, invalid_argument,
                     "{} deviations above the mean: the number must be finite and not negative", window.deviations);
  SWITCHYARD_REQUIRE(window.percentile > 0 && window.percentile <= 100, invalid_argument,
                     "percentile {} of a load window: it must be above 0 and at most 100", window.percentile);
}

double mean_of(std::vector<double> const& steps) {
  double sum = 0;
  for (double const value : steps) sum += value;
  return sum / static_cast<double>(steps.size());
}

double mean_and_deviations(std::vector<double> const& steps, double deviations) {
  double const mean = mean_of(steps);
  double squares = 0;
  for (double const value : steps) squares += (value - mean) * (value - mean);
  return mean + deviations * std::sqrt(squares / static_cast<double>(steps.size()));
}

double nearest_rank(std::vector<double>& steps, double percentile) {
  auto const count = static_cast<double>(steps.size());
  auto const rank = static_cast<std::ptrdiff_t>(std::ceil(percentile / 100 * count));
  auto const place = steps.begin() + std::clamp<std::ptrdiff_t>(rank, 1, std::ssize(steps)) - 1;
  std::nth_element(steps.begin(), place, steps.end());
  return *place;
}

double statistic_of(std::vector<double>& steps, LoadWindow const& window) {
  switch (window.statistic) {
    case LoadStatistic::mean_deviations: return mean_and_deviations(steps, window.deviations);
    case LoadStatistic::percentile: return nearest_rank(steps, window.percentile);
    case LoadStatistic::sum:
    case LoadStatistic::mean: break;
  }
  return mean_of(steps);
}

}  // namespace

ExpertLoad reduce_window(ExpertLoad const& load, LoadWindow const& window) {
  require_window(window);
  if (window.statistic == LoadStatistic::sum) return load.summed();
  auto const per_step = to_size(load.num_layers()) * to_size(load.num_experts());
  auto const num_steps = to_size(load.num_steps());
  std::vector<double> reduced;
  std::vector<double> steps(num_steps);
  for (std::size_t i = 0; i < per_step; ++i) {
    for (std::size_t step = 0; step < num_steps; ++step) steps[step] = load.values()[step * per_step + i];
    reduced.push_back(statistic_of(steps, window));
  }
  return ExpertLoad(1, load.num_layers(), load.num_experts(), std::move(reduced));
}

}  // namespace switchyard
