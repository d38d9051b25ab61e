// SPDX-License-Identifier: Apache-2.0
/// CostCurve: time as a monotone piecewise-linear function of a size, fitted robustly to measurements.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard::sim {

/// One measured time; `size` in the unit of the curve it belongs to.
struct Measurement {
  double size = 0;
  double us = 0;
  friend bool operator==(Measurement const&, Measurement const&) = default;
};

/// Straight lines between knots, sizes ascending, times never falling.
struct CostCurve {
  std::vector<Measurement> knots{};
  friend bool operator==(CostCurve const&, CostCurve const&) = default;
};

/// Why a sample was left out of a fit.
enum class RejectReason : std::uint8_t {
  too_slow,  ///< slower than what larger sizes take
  too_fast,  ///< faster than what smaller sizes take
};

struct Rejected {
  Measurement sample{};
  RejectReason reason{};
  friend bool operator==(Rejected const&, Rejected const&) = default;
};

struct CurveFit {
  CostCurve curve{};
  std::vector<Rejected> rejected{};  ///< in order of size
  friend bool operator==(CurveFit const&, CurveFit const&) = default;
};

/// A sample this much above the second fastest of all larger sizes, or below the second slowest of all smaller ones,
/// is an outlier: time does not fall with size, and one stray sample on the other side cannot condemn it.
inline constexpr double kOutlierFactor = 1.25;

/// Splits samples by the rule of kOutlierFactor; slow ones go first, fast ones are judged by what is left. A size with
/// three or more samples enters as their median.
struct OutlierSplit {
  std::vector<Measurement> kept{};  ///< sizes ascending
  std::vector<Rejected> rejected{};
};
/// @throws Error{invalid_argument} for no samples, a size that is negative or a time that is not positive and finite.
[[nodiscard]] OutlierSplit split_outliers(std::span<Measurement const> samples);

/// One point per size: the median of its samples. @param samples sizes ascending.
[[nodiscard]] std::vector<Measurement> medians_by_size(std::span<Measurement const> samples);

/// Outliers out, medians per size, then isotonic regression of the logarithms (pool adjacent violators; a pool takes
/// its geometric mean), so that relative errors count. O(n^2) for the outlier rule. Pure.
/// @throws Error{invalid_argument} as split_outliers().
[[nodiscard]] CurveFit fit_curve(std::span<Measurement const> samples);

/// @return the time at `size`: the first knot's time below it, the last segment's slope above the last knot (one knot:
///         its time everywhere). @throws Error{invalid_argument} for a curve without knots or a negative size.
[[nodiscard]] double cost_us(CostCurve const& curve, double size);

/// @return size per us on the last segment that rises; 0 when none does. What the curve reaches at large sizes.
[[nodiscard]] double final_size_per_us(CostCurve const& curve) noexcept;

/// @throws Error{invalid_argument} for no knots, sizes that do not ascend, times that are not positive or that fall.
void require_valid(CostCurve const& curve);

}  // namespace switchyard::sim
