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
  double spread = 0;  ///< of the samples of this size where there are seven or more, else the curve's
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
  std::string rivals{};  ///< equal for curves whose times compare; empty: with none
};

/// Half the distance of the tenth to the ninetieth percentile over the median, of sizes with two or more samples; the
/// median over sizes, 0 when every size was measured once. Of two to six samples the range is widened to what that part
/// of a normal distribution would be, since few samples rarely show its ends.
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

/// @return whether three sizes are left when outliers are out.
[[nodiscard]] bool can_hold_out(MeasuredCurve const& measured);

/// Every second size, from the second on, is held out: fit the others, predict these. The outlier rule sees all
/// samples; what it rejects is in neither part, and listed.
/// @throws Error{invalid_argument} for fewer than three sizes.
[[nodiscard]] CurveValidation validate_held_out(MeasuredCurve const& measured);

enum class GemmHeldOut : std::uint8_t {
  ep_sizes,    ///< other numbers of experts at row counts that are known
  row_counts,  ///< row counts between known ones
};
/// Every second one, from the second on, is held out.
/// @throws Error{invalid_argument} for fewer than four of them.
[[nodiscard]] CurveValidation validate_gemm(MeasuredGemm const& measured, GemmHeldOut held_out_by);

/// @return whether a pattern of alltoallv is even traffic, to which costs are fitted: "uniform", and its parts "peers"
///         (to every other rank) and "own" (to the rank itself).
[[nodiscard]] bool is_uniform_part(CurveKey const& key);

/// Skewed patterns of alltoallv predicted by calibrated_cluster() and the fluid model from even traffic alone: the
/// run's own "peers" and what the copies of "uniform" add to them (without "peers": "uniform"), the same pattern of
/// other numbers of ranks, and all-to-all curves of the same device where `curves` hold some.
/// @return one entry per pattern ("zipf", "one_hot", "one_direction", "half_silent"), none for other names or without a
///         uniform one.
[[nodiscard]] std::vector<CurveValidation> validate_skewed(std::span<MeasuredCurve const> curves);

/// How often the simulator says which of two plans is faster, among pairs of measured medians at equal size that differ
/// by more than twice the larger spread of the two.
struct VerdictAgreement {
  std::string kind{};  ///< "alltoallv", "alltoall", "deepep_ll", "deepep_normal"
  int compared = 0;
  int agreed = 0;
  bool spread_known = true;  ///< false: curves measured once are among them, any difference of theirs counts
  double noise_bound = 0;    ///< pairs in which noise would let a perfect model agree, at least
};
inline constexpr double kVerdictGate = 0.95;
/// @return whether at least kVerdictGate of the compared pairs agree; true without pairs, or where the gate says
/// nothing
///         because the spread is not known.
[[nodiscard]] bool within_gate(VerdictAgreement const& agreement) noexcept;

/// Points of different curves with the same `rivals` are plans that somebody could choose between: patterns of one run,
/// GPU counts of a system, SM or node counts of a kernel.
/// @return one entry per kind of operation, in order of first appearance.
[[nodiscard]] std::vector<VerdictAgreement> verdict_agreement(std::span<CurveValidation const> curves);

/// The whole table.
struct Validation {
  std::vector<CurveValidation> curves{};  ///< held-out sizes, then grouped GEMMs, then skewed patterns
  std::vector<VerdictAgreement> verdicts{};
  std::vector<std::string> too_short{};  ///< curves with too few sizes to hold some out
};
/// @throws as validate_held_out(), validate_gemm() and validate_skewed()
[[nodiscard]] Validation validate(std::span<MeasuredCurve const> curves, std::span<MeasuredGemm const> gemms);

}  // namespace switchyard::sim
