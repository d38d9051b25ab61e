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

/// launch_us plus, for every expert with rows, per_expert(rows) and its started tiles of rows, plus token_us per token.
///
/// What depends on SMs, on `sms` of them as measured:
/// - Tiles. A row tile is kTileColumns-wide blocks of both GEMMs (2 I and H columns, I and the weights' columns over
/// tp),
///   one block per SM at a time, so n row tiles of all experts are w = n * blocks / SMs waves of a GEMM. The blocks of
///   fc1 take two thirds of a tile's arithmetic. A GEMM takes (w + wave_loss * (ceil(w) - w)) times what a wave takes:
///   wave_loss 1 rounds up to whole waves, 0 is a kernel that hands SMs without a block to others' work.
/// - Arithmetic. Of per_expert(rows) the part that the curve's best rate (us per row) explains, as far as it is above
///   the floor: it takes as many times longer as there are fewer SMs.
/// What does not: launch and tokens; the floor of an active expert, per_expert at its fewest rows, in which its weights
/// are read from memory; and what a curve has between the two.
struct GroupedGemmCost {
  GemmKey key{};
  CostProvenance provenance{};
  double launch_us = 0;
  double token_us = 0;     ///< to quantise a token's row, and to sum and store its output row
  int tile_rows = 0;       ///< 0 = no steps were found
  double tile_us = 0;      ///< of tile_rows rows of one expert, however many of them are used, in full waves
  CostCurve per_expert{};  ///< over rows of one expert, what is left
  double sms = 0;          ///< of the GPU that was measured, 0 = not known: then no other number of SMs is predicted
  double wave_loss = 0;    ///< part of a last wave's idle SMs that is lost, 0 to 1
  friend bool operator==(GroupedGemmCost const&, GroupedGemmCost const&) = default;
};

inline constexpr int kTileColumns = 128;

/// @param rows of every local expert. @param tokens that the kernel itself gathers and combines: 0 where dispatch and
/// combine are phases of their own. @param sms that compute, those that communication takes left out; 0 = as measured.
/// Other GPUs also differ in what one SM does: this scales their number alone. @return 0 when no expert has rows.
/// @throws Error{invalid_argument} for negative rows, tokens or SMs.
[[nodiscard]] double grouped_gemm_us(GroupedGemmCost const& cost, std::span<std::int64_t const> rows,
                                     std::int64_t tokens = 0, double sms = 0);

/// @return the SMs of a GPU by the name that its driver gives it, 0 for one that is not known.
[[nodiscard]] double sms_of_device(std::string_view device) noexcept;

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
/// count from the others; per_expert is the fitted curve of what is left per expert. wave_loss (quarters) is the one
/// that best predicts every second row count of all EP sizes, and 0 unless another is better. sms is the device's.
/// @throws Error{invalid_argument} for samples of fewer than two EP sizes.
[[nodiscard]] GroupedGemmCost fit_gemm(MeasuredGemm const& measured);

}  // namespace switchyard::sim
