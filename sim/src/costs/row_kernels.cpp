// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/row_kernels.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr double kBytesPerCodeRead = 2;  // a code of one byte is made of a value of two

struct PhaseRecipe {
  char const* name;
  std::optional<FittedCurve> const& curve;
  SizeUnit unit;
  double per_token, per_row;  ///< of the curve's unit
};

void add_phase(std::vector<PhaseCost>& phases, PhaseRecipe const& recipe, std::span<RankRows const> ranks) {
  if (!recipe.curve) return;
  SWITCHYARD_REQUIRE(recipe.curve->key.unit == recipe.unit, invalid_argument,
                     "{} is a curve over {}, as a kernel \"{}\" it must be over {}: choose another curve",
                     to_string(recipe.curve->key), to_string(recipe.curve->key.unit), recipe.name,
                     to_string(recipe.unit));
  PhaseCost phase;
  phase.name = recipe.name;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    double const size = recipe.per_token * static_cast<double>(ranks[rank].tokens) +
                        recipe.per_row * static_cast<double>(ranks[rank].sent_rows);
    double const us = kernel_us(recipe.curve->fit.curve, size);
    if (us <= phase.time_us) continue;
    phase.time_us = phase.lower_bound_us = us;
    phase.bottleneck = fmt::format("kernel of rank {}", rank);
  }
  phases.push_back(std::move(phase));
}

}  // namespace

double kernel_us(CostCurve const& curve, double size) {
  auto const& knots = curve.knots;
  if (size == 0) return 0;
  if (knots.size() < 2 || size >= knots.front().size) return cost_us(curve, size);
  double const per_size = (knots[1].us - knots[0].us) / (knots[1].size - knots[0].size);
  return std::max(0.0, knots[0].us - (knots[0].size - size) * per_size);
}

KernelPhases kernel_phases(RowKernels const& kernels, std::span<RankRows const> ranks, std::int64_t row_bytes) {
  SWITCHYARD_REQUIRE(row_bytes >= 0, invalid_argument, "{} bytes a row: sizes are not negative", row_bytes);
  auto const row = static_cast<double>(row_bytes);
  KernelPhases phases;
  add_phase(phases.before, {"plan", kernels.plan, SizeUnit::tokens_per_rank, 1, 0}, ranks);
  add_phase(phases.before, {"quantize", kernels.quantize, SizeUnit::bytes_moved, (kBytesPerCodeRead + 1) * row, 0},
            ranks);
  add_phase(phases.before, {"permute", kernels.permute, SizeUnit::bytes_moved, row, row}, ranks);
  add_phase(phases.after, {"combine rows", kernels.combine, SizeUnit::bytes_moved, row, row}, ranks);
  return phases;
}

}  // namespace switchyard::sim
