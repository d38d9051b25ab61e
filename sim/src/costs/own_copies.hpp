// SPDX-License-Identifier: Apache-2.0
/// OwnCopies: what a rank's copy of its own rows costs beside its exchange with peers.
#pragma once

#include <optional>

#include "switchyard/sim/measured_curve.hpp"

namespace switchyard::sim {

/// A copy reads and writes device memory as fast as that goes. Sends read theirs beside it and wait; receives take what
/// has just arrived from caches and do not. Fitted to the uniform pattern, timed whole and without its copies.
struct OwnCopies {
  double launch_us = 0;    ///< of a copy too small to matter otherwise, to all that its rank does
  double us_per_byte = 0;  ///< that sends wait per byte copied
  CostCurve alone{};       ///< time of a copy without an exchange, over its bytes; no knots: not measured

  [[nodiscard]] double sends_wait_us(double bytes) const noexcept;
  [[nodiscard]] double receives_wait_us(double bytes) const noexcept { return bytes > 0 ? launch_us : 0; }
  [[nodiscard]] double alone_us(double bytes) const;
};

/// @param whole every rank sends total/ranks to every rank, @param peers to every other rank: the difference by bytes
/// is the median over the larger half of the sizes, the launch what is left of it over the smaller half.
/// @param own every rank to itself; may be null. @throws Error{invalid_argument} as fit_curve()
[[nodiscard]] OwnCopies fit_own_copies(MeasuredCurve const& whole, MeasuredCurve const& peers,
                                       MeasuredCurve const* own);

}  // namespace switchyard::sim
