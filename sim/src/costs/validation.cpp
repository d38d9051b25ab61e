// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/validation.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "costs/rivals.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr std::size_t kLeastSizes = 3;

/// @return the value that a fraction of the sorted values does not exceed.
double quantile(std::vector<double> const& sorted, double fraction) {
  auto const rank = std::ceil(fraction * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

/// Half the middle 80 % of a normal distribution, 1.2816 deviations, over half the expected range of n samples: the
/// range of a few samples is narrower than what they are drawn from (the d2 of control charts: 1.128, 1.693, ...).
constexpr double kOfFewSamples[] = {0, 0, 2.272, 1.514, 1.245, 1.102, 1.011};

double spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double const half = (quantile(values, 0.9) - quantile(values, 0.1)) / 2 / quantile(values, 0.5);
  return values.size() < std::size(kOfFewSamples) ? half * kOfFewSamples[values.size()] : half;
}

std::vector<std::int64_t> rows_of(GemmSample const& sample) {
  return std::vector<std::int64_t>(static_cast<std::size_t>(sample.active),
                                   static_cast<std::int64_t>(std::llround(sample.rows)));
}

}  // namespace

CurveValidation summarised(std::string name, bool skewed, std::vector<Prediction> points,
                           std::vector<Rejected> rejected, double spread) {
  CurveValidation result{std::move(name), skewed, std::move(points), std::move(rejected), 0, 0, 0, spread, false, {}};
  std::vector<double> errors;
  for (Prediction const& point : result.points)
    errors.push_back(std::abs(point.predicted_us - point.measured_us) / point.measured_us);
  if (errors.empty()) return result;
  std::sort(errors.begin(), errors.end());
  result.median_error = quantile(errors, 0.5);
  result.p90_error = quantile(errors, 0.9);
  result.max_error = errors.back();
  ErrorGates const gates = skewed ? kSkewedGates : kUniformGates;
  result.within_gates = result.median_error <= gates.median && result.p90_error <= gates.p90;
  return result;
}

double measurement_spread(std::span<Measurement const> samples) {
  std::vector<Measurement> sorted(samples.begin(), samples.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](Measurement const& a, Measurement const& b) { return a.size < b.size; });
  std::vector<double> spreads;
  for (std::size_t i = 0; i < sorted.size();) {
    std::vector<double> values;
    double const size = sorted[i].size;
    for (; i < sorted.size() && sorted[i].size == size; ++i) values.push_back(sorted[i].us);
    if (values.size() > 1) spreads.push_back(spread_of(std::move(values)));
  }
  std::sort(spreads.begin(), spreads.end());
  return spreads.empty() ? 0 : quantile(spreads, 0.5);
}

bool can_hold_out(MeasuredCurve const& measured) {
  return medians_by_size(split_outliers(measured.samples).kept).size() >= kLeastSizes;
}

CurveValidation validate_held_out(MeasuredCurve const& measured) {
  auto const split = split_outliers(measured.samples);
  auto const points = medians_by_size(split.kept);
  SWITCHYARD_REQUIRE(points.size() >= kLeastSizes, invalid_argument,
                     "{}: {} sizes are left of {} samples: holding some out takes at least {}", to_string(measured.key),
                     points.size(), measured.samples.size(), kLeastSizes);
  std::vector<Measurement> fitted;
  for (std::size_t i = 0; i < points.size(); i += 2) fitted.push_back(points[i]);
  CostCurve const curve = fit_curve(fitted).curve;
  std::vector<Prediction> predictions;
  for (std::size_t i = 1; i < points.size(); i += 2)
    predictions.push_back({points[i].size, points[i].us, cost_us(curve, points[i].size), 0});
  auto result = summarised(to_string(measured.key), false, std::move(predictions), split.rejected,
                           measurement_spread(measured.samples));
  prepare_verdicts(result, measured);
  return result;
}

CurveValidation validate_gemm(MeasuredGemm const& measured, GemmHeldOut held_out_by) {
  auto const part_of = [&](GemmSample const& sample) {
    return held_out_by == GemmHeldOut::ep_sizes ? static_cast<double>(sample.ep) : sample.rows;
  };
  std::set<double> parts;
  for (GemmSample const& sample : measured.samples) parts.insert(part_of(sample));
  char const* const name = held_out_by == GemmHeldOut::ep_sizes ? "EP sizes" : "row counts";
  SWITCHYARD_REQUIRE(parts.size() >= 4, invalid_argument, "{}: {} {}: holding some out takes at least 4",
                     to_string(measured.key), parts.size(), name);
  auto const held_out = [&](GemmSample const& sample) {
    return std::distance(parts.begin(), parts.find(part_of(sample))) % 2 == 1;
  };
  MeasuredGemm fitted{measured.key, measured.provenance, {}};
  for (GemmSample const& sample : measured.samples)
    if (!held_out(sample)) fitted.samples.push_back(sample);
  GroupedGemmCost const cost = fit_gemm(fitted);
  std::vector<Prediction> predictions;
  for (GemmSample const& sample : measured.samples)
    if (held_out(sample))
      predictions.push_back({sample.rows, sample.us, grouped_gemm_us(cost, rows_of(sample), sample.tokens), 0});
  return summarised(fmt::format("grouped gemm {}, {}", to_string(measured.key), name), false, std::move(predictions),
                    {}, 0);
}

Validation validate(std::span<MeasuredCurve const> curves, std::span<MeasuredGemm const> gemms) {
  Validation all;
  for (MeasuredCurve const& curve : curves) {
    if (curve.key.operation == "alltoallv" && !is_uniform_part(curve.key)) continue;
    if (can_hold_out(curve))
      all.curves.push_back(validate_held_out(curve));
    else
      all.too_short.push_back(to_string(curve.key));
  }
  for (MeasuredGemm const& gemm : gemms)
    for (auto const held_out : {GemmHeldOut::ep_sizes, GemmHeldOut::row_counts})
      all.curves.push_back(validate_gemm(gemm, held_out));
  auto const skewed = validate_skewed(curves);
  all.curves.insert(all.curves.end(), skewed.begin(), skewed.end());
  all.verdicts = verdict_agreement(all.curves);
  return all;
}

}  // namespace switchyard::sim
