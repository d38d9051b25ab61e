// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/cost_curve.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

void require_samples(std::span<Measurement const> samples) {
  SWITCHYARD_REQUIRE(!samples.empty(), invalid_argument, "no measurements: a curve is fitted to at least {} sample", 1);
  for (Measurement const& one : samples)
    SWITCHYARD_REQUIRE(std::isfinite(one.size) && one.size >= 0 && std::isfinite(one.us) && one.us > 0,
                       invalid_argument, "a sample says {} us at size {}: times must be positive, sizes not negative",
                       one.us, one.size);
}

/// Second smallest of sign * us over the samples beyond `size`; infinity when there are fewer than two.
double second_beyond(std::span<Measurement const> samples, double size, double sign) {
  double least = std::numeric_limits<double>::infinity(), second = least;
  for (Measurement const& one : samples) {
    if (sign * one.size <= sign * size) continue;
    double const value = sign * one.us;
    second = std::min(second, std::max(least, value));
    least = std::min(least, value);
  }
  return second;
}

bool too_slow(Measurement const& one, std::span<Measurement const> all) {
  return one.us > kOutlierFactor * second_beyond(all, one.size, 1);
}

bool too_fast(Measurement const& one, std::span<Measurement const> all) {
  double const second_slowest = -second_beyond(all, one.size, -1);
  return one.us * kOutlierFactor < second_slowest;
}

void move_outliers(OutlierSplit& split, RejectReason reason,
                   bool (*is_outlier)(Measurement const&, std::span<Measurement const>)) {
  std::vector<Measurement> kept;
  for (Measurement const& one : split.kept)
    if (is_outlier(one, split.kept))
      split.rejected.push_back({one, reason});
    else
      kept.push_back(one);
  split.kept = std::move(kept);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  std::size_t const half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// Sizes measured often enough to be robust by themselves become one sample, their median.
std::vector<Measurement> without_repeats(std::span<Measurement const> samples) {
  constexpr std::size_t kRobust = 3;
  std::vector<Measurement> result;
  for (std::size_t i = 0; i < samples.size();) {
    std::size_t end = i;
    while (end < samples.size() && samples[end].size == samples[i].size) ++end;
    auto const group = samples.subspan(i, end - i);
    auto const points = end - i >= kRobust ? medians_by_size(group) : std::vector(group.begin(), group.end());
    result.insert(result.end(), points.begin(), points.end());
    i = end;
  }
  return result;
}

/// Neighbours whose means are in the wrong order, pooled until none are.
std::vector<double> isotonic(std::vector<double> const& values) {
  struct Pool {
    double sum;
    int count;
  };
  auto const mean = [](Pool const& pool) { return pool.sum / pool.count; };
  std::vector<Pool> pools;
  for (double const value : values) {
    pools.push_back({value, 1});
    while (pools.size() > 1 && mean(pools[pools.size() - 2]) > mean(pools.back())) {
      Pool const last = pools.back();
      pools.pop_back();
      pools.back() = {pools.back().sum + last.sum, pools.back().count + last.count};
    }
  }
  std::vector<double> result;
  for (Pool const& pool : pools) result.insert(result.end(), static_cast<std::size_t>(pool.count), mean(pool));
  return result;
}

}  // namespace

OutlierSplit split_outliers(std::span<Measurement const> samples) {
  require_samples(samples);
  OutlierSplit split;
  split.kept.assign(samples.begin(), samples.end());
  auto const smaller = [](Measurement const& a, Measurement const& b) { return a.size < b.size; };
  std::stable_sort(split.kept.begin(), split.kept.end(), smaller);
  split.kept = without_repeats(split.kept);
  move_outliers(split, RejectReason::too_slow, too_slow);
  move_outliers(split, RejectReason::too_fast, too_fast);
  std::stable_sort(split.rejected.begin(), split.rejected.end(),
                   [&](Rejected const& a, Rejected const& b) { return smaller(a.sample, b.sample); });
  return split;
}

std::vector<Measurement> medians_by_size(std::span<Measurement const> samples) {
  std::vector<Measurement> result;
  for (std::size_t i = 0; i < samples.size();) {
    std::vector<double> values;
    double const size = samples[i].size;
    for (; i < samples.size() && samples[i].size == size; ++i) values.push_back(samples[i].us);
    result.push_back({size, median(std::move(values))});
  }
  return result;
}

CurveFit fit_curve(std::span<Measurement const> samples) {
  auto split = split_outliers(samples);
  CurveFit fit;
  fit.rejected = std::move(split.rejected);
  fit.curve.knots = medians_by_size(split.kept);
  std::vector<double> logs;
  for (Measurement const& knot : fit.curve.knots) logs.push_back(std::log(knot.us));
  auto const smooth = isotonic(logs);
  for (std::size_t i = 0; i < smooth.size(); ++i)
    if (smooth[i] != logs[i]) fit.curve.knots[i].us = std::exp(smooth[i]);
  for (std::size_t i = 1; i < smooth.size(); ++i)  // exp rounds: a pool and its neighbour may differ in the last bit
    fit.curve.knots[i].us = std::max(fit.curve.knots[i].us, fit.curve.knots[i - 1].us);
  return fit;
}

double cost_us(CostCurve const& curve, double size) {
  SWITCHYARD_REQUIRE(!curve.knots.empty() && size >= 0, invalid_argument,
                     "a curve of {} knots has no time for size {}: fit it first, sizes are not negative",
                     curve.knots.size(), size);
  auto const& knots = curve.knots;
  if (size <= knots.front().size || knots.size() == 1) return knots.front().us;
  auto above = std::upper_bound(knots.begin() + 1, knots.end() - 1, size,
                                [](double value, Measurement const& knot) { return value < knot.size; });
  auto const below = above - 1;
  return below->us + (size - below->size) * ((above->us - below->us) / (above->size - below->size));
}

double final_size_per_us(CostCurve const& curve) noexcept {
  for (std::size_t i = curve.knots.size(); i-- > 1;) {
    double const us = curve.knots[i].us - curve.knots[i - 1].us;
    if (us > 0) return (curve.knots[i].size - curve.knots[i - 1].size) / us;
  }
  return 0;
}

void require_valid(CostCurve const& curve) {
  require_samples(curve.knots);
  for (std::size_t i = 1; i < curve.knots.size(); ++i)
    SWITCHYARD_REQUIRE(curve.knots[i - 1].size < curve.knots[i].size && curve.knots[i - 1].us <= curve.knots[i].us,
                       invalid_argument,
                       "knot {} of a curve is {} us at size {} after {} us at {}: sizes must ascend, times not fall", i,
                       curve.knots[i].us, curve.knots[i].size, curve.knots[i - 1].us, curve.knots[i - 1].size);
}

}  // namespace switchyard::sim
