// SPDX-License-Identifier: Apache-2.0
/// ExpertKernels: the hot loops of the exact expert engine, as a table of functions per instruction set. No threads, no
/// experts: tiles of a matrix product and rows of an activation.
#pragma once

#include <array>
#include <cstdint>

#include "switchyard/types/activation.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cpu {

/// One tile of out[r][c] = tree over segments of (chain over steps ascending of fma(rows[step][r], columns[step][c])),
/// every chain from +0. Operands are panels: step by step the values of all lanes of the tile.
struct ChainTile {
  float const* rows;                 ///< [steps, tile_rows]
  float const* columns;              ///< [steps, tile_columns]
  std::int64_t const* segment_ends;  ///< [segments] ascending; the last one is the number of steps
  std::int64_t segments;             ///< at most kIntermediateBlocks; 0 gives +0
  float* out;                        ///< [used_rows, used_columns], rows `out_stride` apart
  std::int64_t out_stride;
  std::int64_t used_rows;
  std::int64_t used_columns;
  bool accumulate;  ///< the first segment's chains continue from `out` instead of +0
};

/// A strided matrix that becomes a panel: lane i, step k is data[i * lane_stride + order(k) * step_stride].
struct PanelSource {
  void const* data;
  DType dtype;
  std::int64_t lane_stride;
  std::int64_t step_stride;
  std::int64_t lanes;  ///< the panel's other lanes become +0
  std::int64_t steps;
  std::int64_t const* order;  ///< [steps], or null for 0, 1, 2, ...
};

/// Rows of hidden values on their way through an activation; `units` elements everywhere.
struct GatedRow {
  float const* gate;  ///< or the only input
  float const* up;    ///< null for plain forms
  std::int64_t units;
  float limit;
  DType gate_rounding;
  DType rounding;
};

/// The gradient of a GatedRow for d_out[i] of its outputs.
struct GatedRowGradient {
  GatedRow row;
  float const* d_out;
  float* d_gate;
  float* d_up;  ///< null for plain forms
};

struct ExpertKernels {
  std::int64_t tile_rows;
  std::int64_t tile_columns;
  void (*chain_tile)(ChainTile const& tile);
  void (*pack)(PanelSource const& source, std::int64_t width, float* panel);
  void (*activate)(Activation kind, GatedRow const& row, float* out);
  void (*activate_backward)(Activation kind, GatedRowGradient const& row);
  /// values[i] + addend[i] (when there is one), rounded to `dtype` and widened again; in place.
  void (*add_and_round)(float* values, float const* addend, DType dtype, std::int64_t count);
  /// narrow(a[i] + b[i]) into memory of `dtype`; b may be null.
  void (*add_and_store)(float const* values, float const* addend, DType dtype, void* out, std::int64_t count);
  /// Widens `count` elements and, when `weight` is not null, multiplies with it and rounds to `dtype` again.
  void (*load)(void const* in, DType dtype, float const* weight, float* out, std::int64_t count);
};

namespace baseline {
extern ExpertKernels const kExpertKernels;
}
#if defined(SWITCHYARD_X86_TARGETS)
namespace x86_64_v2 {
extern ExpertKernels const kExpertKernels;
}
namespace x86_64_v3 {
extern ExpertKernels const kExpertKernels;
}
namespace x86_64_v4 {
extern ExpertKernels const kExpertKernels;
}
#endif

/// @return the loops of the active instruction set.
[[nodiscard]] ExpertKernels const& active_expert_kernels();

}  // namespace switchyard::cpu
