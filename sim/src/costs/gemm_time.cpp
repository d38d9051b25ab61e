// SPDX-License-Identifier: Apache-2.0
// What a grouped GEMM takes on a number of SMs: waves of tiles, arithmetic, and the floor of every active expert.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "costs/gemm_waves.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

/// What per_expert says, in parts: the memory's floor, arithmetic above it, and the rest.
struct Roofline {
  double floor_us = 0;
  double us_per_row = 0;

  explicit Roofline(CostCurve const& curve) {
    if (curve.knots.empty()) return;
    floor_us = curve.knots.front().us;
    us_per_row = std::numeric_limits<double>::infinity();
    for (Measurement const& knot : curve.knots) us_per_row = std::min(us_per_row, knot.us / knot.size);
  }
  /// @param slower how many times fewer SMs there are.
  [[nodiscard]] double us(double rows, double slower) const { return std::max(floor_us, us_per_row * rows * slower); }
};

std::int64_t blocks_over(std::int64_t columns) {
  return (columns + kTileColumns - 1) / kTileColumns;
}

}  // namespace

double waves_us(GroupedGemmCost const& cost, double row_tiles, double sms) {
  if (row_tiles == 0) return 0;
  double const measured = cost.sms > 0 ? cost.sms : 1;
  if (sms == 0) sms = measured;
  if (cost.wave_loss == 0) return cost.tile_us * row_tiles * measured / sms;
  std::int64_t const intermediate = std::max<std::int64_t>(1, cost.key.intermediate / std::max(1, cost.key.tp));
  std::array<std::pair<std::int64_t, double>, 2> const gemms{
      {{blocks_over(2 * intermediate), 2.0 / 3}, {blocks_over(cost.key.hidden), 1.0 / 3}}};
  double us = 0;
  for (auto const& [blocks, part] : gemms) {
    double const waves = row_tiles * static_cast<double>(blocks) / sms;
    double const wave_us = cost.tile_us * part * measured / static_cast<double>(blocks);
    us += wave_us * (waves + cost.wave_loss * (std::ceil(waves) - waves));
  }
  return us;
}

double grouped_gemm_us(GroupedGemmCost const& cost, std::span<std::int64_t const> rows, std::int64_t tokens,
                       double sms) {
  SWITCHYARD_REQUIRE(tokens >= 0, invalid_argument, "{} tokens: their number is not negative", tokens);
  SWITCHYARD_REQUIRE(std::isfinite(sms) && sms >= 0, invalid_argument, "{} SMs: give a number above 0, or 0", sms);
  double const slower = sms > 0 && cost.sms > 0 ? cost.sms / sms : 1;
  Roofline const roofline(cost.per_expert);
  double us = 0, tiles = 0;
  bool active = false;
  for (std::int64_t const of_expert : rows) {
    if (of_expert == 0) continue;
    auto const count = static_cast<double>(of_expert);
    us += cost_us(cost.per_expert, count);
    if (slower != 1) us += roofline.us(count, slower) - roofline.us(count, 1);
    if (cost.tile_rows > 0) tiles += std::ceil(count / cost.tile_rows);
    active = true;
  }
  if (!active) return 0;
  return cost.launch_us + cost.token_us * static_cast<double>(tokens) + us +
         waves_us(cost, tiles, cost.sms > 0 ? sms : 0);
}

double sms_of_device(std::string_view device) noexcept {
  constexpr std::array<std::pair<std::string_view, double>, 7> known{{{"NVIDIA H200", 132},
                                                                      {"NVIDIA H100 80GB HBM3", 132},
                                                                      {"NVIDIA A100-SXM4-80GB", 108},
                                                                      {"NVIDIA A100-SXM4-40GB", 108},
                                                                      {"NVIDIA B200", 148},
                                                                      {"NVIDIA GB200", 152},
                                                                      {"NVIDIA L40S", 142}}};
  for (auto const& [name, sms] : known)
    if (name == device) return sms;
  return 0;
}

}  // namespace switchyard::sim
