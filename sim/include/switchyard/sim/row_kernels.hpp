// SPDX-License-Identifier: Apache-2.0
/// RowKernels: what a rank's own kernels around an exchange take, from their measured curves.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/sim/cost_file.hpp"

namespace switchyard::sim {

/// Curves of the kernels that are timed; one that is absent takes no time.
struct RowKernels {
  std::optional<FittedCurve> plan{};      ///< over tokens: counts, splits and lists before the exchange (metadata)
  std::optional<FittedCurve> quantize{};  ///< over bytes moved: 2-byte values in, 1-byte codes out
  std::optional<FittedCurve> permute{};   ///< over bytes moved: tokens in, rows to send out
  std::optional<FittedCurve> combine{};   ///< over bytes moved: rows that came back in, tokens out
};

/// What one rank's kernels move.
struct RankRows {
  std::int64_t tokens = 0;
  std::int64_t sent_rows = 0;  ///< copies of its tokens, those to itself included
};

/// @return the time at `size`: the curve's, and below its first knot the line through its first two knots, which is a
///         launch plus what grows with size; 0 at size 0. @throws Error{invalid_argument} as cost_us().
[[nodiscard]] double kernel_us(CostCurve const& curve, double size);

/// Phases "plan", "quantize", "permute" that come before an exchange and "combine rows" that comes after its way back,
/// each as long as the slowest rank's; none for absent kernels.
struct KernelPhases {
  std::vector<PhaseCost> before{};
  std::vector<PhaseCost> after{};
};
/// @param row_bytes of a row on the wire. @throws Error{invalid_argument} for a curve over another unit.
[[nodiscard]] KernelPhases kernel_phases(RowKernels const& kernels, std::span<RankRows const> ranks,
                                         std::int64_t row_bytes);

}  // namespace switchyard::sim
