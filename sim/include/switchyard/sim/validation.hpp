// SPDX-License-Identifier: Apache-2.0
/// Validation: how far predictions are from measurements that no fit has seen.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "switchyard/sim/cost_file.hpp"

namespace switchyard::sim {

struct Prediction {
  double size = 0;
  double measured_us = 0;
  double predicted_us = 0;
};

/// One line of the table. Errors are |predicted - measured| / measured.
struct CurveValidation {
  std::string name;
  bool skewed = false;  ///< uneven traffic: wider gates
  std::vector<Prediction> points{};
  std::vector<Rejected> rejected{};
  double median_error = 0, p90_error = 0, max_error = 0;
  double spread = 0;  ///< of the samples of one size, median over sizes: half the middle-80 % range over the median
  bool within_gates = false;
};

/// Half the distance of the tenth to the ninetieth percentile over the median, of sizes with two or more samples; the
/// median over sizes, 0 when every size was measured once.
[[nodiscard]] double measurement_spread(std::span<Measurement const> samples);

/// @return the errors of `points` and whether they keep the gates.
[[nodiscard]] CurveValidation summarised(std::string name, bool skewed, std::vector<Prediction> points,
                                         std::vector<Rejected> rejected, double spread);

/// Gates on the median and the 90th percentile of relative errors.
struct ErrorGates {
  double median = 0.10, p90 = 0.20;
};
inline constexpr ErrorGates kUniformGates{0.10, 0.20};
inline constexpr ErrorGates kSkewedGates{0.15, 0.30};

/// Every second size, from the second on, is held out: fit the others, predict these. The outlier rule sees all
/// samples; what it rejects is in neither part, and listed.
/// @throws Error{invalid_argument} for fewer than three sizes.
[[nodiscard]] CurveValidation validate_held_out(MeasuredCurve const& measured);

/// Every second EP size is held out.
/// @throws Error{invalid_argument} for fewer than four EP sizes.
[[nodiscard]] CurveValidation validate_gemm(MeasuredGemm const& measured);

/// Skewed patterns of alltoallv predicted from the uniform one by calibrated_cluster() and the fluid model; one entry
/// per pattern ("zipf", "one_hot", "one_direction", "half_silent"), none for other names or without a uniform one.
[[nodiscard]] std::vector<CurveValidation> validate_skewed(std::span<MeasuredCurve const> curves);

/// How often the simulator says which of two patterns of equal size is faster, where their measured medians differ by
/// more than twice the larger spread.
struct VerdictAgreement {
  int compared = 0;
  int agreed = 0;
};
[[nodiscard]] VerdictAgreement verdict_agreement(std::span<CurveValidation const> patterns);

}  // namespace switchyard::sim
