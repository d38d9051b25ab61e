// SPDX-License-Identifier: Apache-2.0
/// PanelProduct: a matrix product as tiles of fused chains, parallel over columns, weights packed panel by panel.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "expert_kernels.hpp"

namespace switchyard::cpu {

/// out[r][c] for r in [0, rows), c in [0, columns): see ChainTile.
struct PanelProduct {
  float const* row_panels;  ///< as pack_row_panels leaves them
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t steps;
  std::span<std::int64_t const> segment_ends;  ///< the last one is `steps`; empty gives +0 everywhere
  float* out;                                  ///< [rows, columns] contiguous
  bool accumulate = false;                     ///< see ChainTile
};

/// Writes the panel of columns [first, first + lanes): [steps, tile_columns], the lanes behind them +0.
using PackColumns = std::function<void(std::int64_t first, std::int64_t lanes, float* panel)>;

/// Floats of the panels of `rows` rows.
[[nodiscard]] std::int64_t row_panel_floats(ExpertKernels const& kernels, std::int64_t rows, std::int64_t steps);
/// Packs source.lanes rows into panels of tile_rows lanes. Parallel.
void pack_row_panels(ExpertKernels const& kernels, PanelSource const& source, float* panels);
/// Parallel over panels of columns; each range owns one packed panel.
void multiply(ExpertKernels const& kernels, PanelProduct const& product, PackColumns const& pack_columns);

}  // namespace switchyard::cpu
