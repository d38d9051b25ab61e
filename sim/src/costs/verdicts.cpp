// SPDX-License-Identifier: Apache-2.0
// Which of two plans is faster: what was measured against what is predicted.
#include <algorithm>
#include <cmath>

#include "costs/rivals.hpp"
#include "switchyard/sim/validation.hpp"

namespace switchyard::sim {
namespace {

bool same_verdict(Prediction const& a, Prediction const& b) {
  return (a.measured_us > b.measured_us) == (a.predicted_us > b.predicted_us) && a.predicted_us != b.predicted_us;
}

/// How likely noise leaves the sign of a measured difference right: the difference in deviations of a normal
/// distribution, of which a spread is half the middle 80 %. Medians vary less than samples do, so this is a lower
/// bound.
double chance_of_sign(Prediction const& a, Prediction const& b) {
  constexpr double kDeviationsPerSpread = 1.2816;
  double const noise = std::hypot(a.spread * a.measured_us, b.spread * b.measured_us) / kDeviationsPerSpread;
  if (noise <= 0) return 1;
  return std::erfc(-std::abs(a.measured_us - b.measured_us) / noise / std::sqrt(2.0)) / 2;
}

void compare(CurveValidation const& a, CurveValidation const& b, VerdictAgreement& agreement) {
  agreement.spread_known = agreement.spread_known && a.spread > 0 && b.spread > 0;
  for (Prediction const& left : a.points)
    for (Prediction const& right : b.points) {
      double const noise = 2 * std::max(left.spread * left.measured_us, right.spread * right.measured_us);
      if (left.size != right.size || std::abs(left.measured_us - right.measured_us) <= noise) continue;
      ++agreement.compared;
      agreement.agreed += same_verdict(left, right) ? 1 : 0;
      agreement.noise_bound += chance_of_sign(left, right);
    }
}

VerdictAgreement& agreement_of(std::vector<VerdictAgreement>& all, std::string const& kind) {
  auto const found =
      std::find_if(all.begin(), all.end(), [&](VerdictAgreement const& one) { return one.kind == kind; });
  if (found != all.end()) return *found;
  all.push_back({kind, 0, 0, true, 0});
  return all.back();
}

}  // namespace

std::string rivals_of(MeasuredCurve const& measured) {
  std::string text = measured.key.operation + " " + measured.key.system;
  return measured.key.operation == "alltoallv" ? text + " " + measured.provenance.digest : text;
}

void prepare_verdicts(CurveValidation& result, MeasuredCurve const& measured) {
  constexpr std::size_t kEnough = 7;
  result.rivals = rivals_of(measured);
  for (Prediction& point : result.points) {
    std::vector<Measurement> same_size;
    for (Measurement const& one : measured.samples)
      if (one.size == point.size) same_size.push_back(one);
    point.spread = same_size.size() >= kEnough ? measurement_spread(same_size) : result.spread;
  }
}

bool within_gate(VerdictAgreement const& agreement) noexcept {
  return !agreement.spread_known || agreement.agreed >= kVerdictGate * agreement.compared;
}

std::vector<VerdictAgreement> verdict_agreement(std::span<CurveValidation const> curves) {
  std::vector<VerdictAgreement> all;
  for (std::size_t a = 0; a < curves.size(); ++a)
    for (std::size_t b = a + 1; b < curves.size(); ++b)
      if (!curves[a].rivals.empty() && curves[a].rivals == curves[b].rivals)
        compare(curves[a], curves[b], agreement_of(all, curves[a].rivals.substr(0, curves[a].rivals.find(' '))));
  return all;
}

}  // namespace switchyard::sim
