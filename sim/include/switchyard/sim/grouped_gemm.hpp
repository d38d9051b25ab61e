// SPDX-License-Identifier: Apache-2.0
/// GroupedGemmCost: how long a rank's experts take, from what every active expert costs.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/sim/measured_curve.hpp"

namespace switchyard::sim {

/// The shape of the experts that were measured.
struct GemmKey {
  std::string dtype{};
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  int topk = 0;
  int experts = 0;
  int tp = 1;
  friend bool operator==(GemmKey const&, GemmKey const&) = default;
};
/// @return "fp8_block 7168x2048 top-8 of 256 tp=1".
[[nodiscard]] std::string to_string(GemmKey const& key);

/// launch_us plus, for every expert with rows, tile_us per started tile of rows and per_expert(rows), plus token_us per
/// token. At few rows per_expert is the time to read the expert's weights, at many rows arithmetic that grows smoothly.
/// A tile's time is what it adds to all SMs together: measured kernels spread tiles over SMs, so a last wave is not
/// rounded up (docs/simulator.md has the errors with and without).
struct GroupedGemmCost {
  GemmKey key{};
  CostProvenance provenance{};
  double launch_us = 0;
  double token_us = 0;     ///< to quantise a token's row, and to sum and store its output row
  int tile_rows = 0;       ///< 0 = no steps were found
  double tile_us = 0;      ///< of tile_rows rows of one expert, however many of them are used
  CostCurve per_expert{};  ///< over rows of one expert, what is left
  friend bool operator==(GroupedGemmCost const&, GroupedGemmCost const&) = default;
};

/// @param rows of every local expert. @param tokens that the kernel itself gathers and combines: 0 where dispatch and
/// combine are phases of their own. @return 0 when no expert has rows.
/// @throws Error{invalid_argument} for negative rows or tokens.
[[nodiscard]] double grouped_gemm_us(GroupedGemmCost const& cost, std::span<std::int64_t const> rows,
                                     std::int64_t tokens = 0);

/// One measured time under balanced routing: `active` local experts of `rows` each.
struct GemmSample {
  int ep = 1;
  int active = 0;
  double rows = 0;
  std::int64_t tokens = 0;  ///< of the batch, of which every rank sees all
  double us = 0;
};
struct MeasuredGemm {
  GemmKey key{};
  CostProvenance provenance{};
  std::vector<GemmSample> samples{};
};

/// Reads a table of moe kernels; rows of uneven distributions are left out (the file does not say which expert got
/// what), as are batches too small to reach every expert. @throws Error{parse} as read_measured_curves().
[[nodiscard]] std::vector<MeasuredGemm> read_measured_gemms(std::string_view text, std::string const& file);
/// @return whether the header is of such a table.
[[nodiscard]] bool is_gemm_table(std::string_view text);

/// launch_us is the median, over row counts up to 8 and neighbouring EP sizes, of where the line through the two times
/// meets no experts at all, at least 0; token_us the median of how far such points are above it per token, over batches
/// of 1,024 tokens and more. tile_rows (64, 128, 256 or none) and tile_us are those that best predict every second row
/// count from the others; per_expert is the fitted curve of what is left per expert.
/// @throws Error{invalid_argument} for samples of fewer than two EP sizes.
[[nodiscard]] GroupedGemmCost fit_gemm(MeasuredGemm const& measured);

}  // namespace switchyard::sim
