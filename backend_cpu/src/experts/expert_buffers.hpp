// SPDX-License-Identifier: Apache-2.0
/// ExpertBuffers: the workspace of one pass over some rows of one expert, carved by name.
#pragma once

#include <algorithm>
#include <span>

#include "panel_product.hpp"
#include "switchyard/experts/expert_mlp.hpp"
#include "switchyard/experts/workspace.hpp"

namespace switchyard::cpu {

/// Rows of an expert that pass through both layers together: a multiple of all tile heights, many enough that packing
/// the weights once per pass costs little, few enough that a workspace stays small when one expert gets everything.
inline constexpr std::int64_t kRowsPerPass = 1008;

/// Spans are empty in the counting pass.
struct ExpertBuffers {
  std::span<float> input;  ///< [rows, H] widened rows
  std::span<float> input_panels;
  std::span<float> hidden;      ///< [rows, first layer outputs]
  std::span<float> activation;  ///< [rows, local units]
  std::span<float> activation_panels;
  std::span<float> output;  ///< [rows, H]
};

inline ExpertBuffers take_buffers(Workspace& workspace, ExpertKernels const& kernels, ExpertMlp const& mlp,
                                  std::int64_t max_rows) {
  std::int64_t const rows = std::min(max_rows, kRowsPerPass);
  std::int64_t const units = mlp.local_units();
  ExpertBuffers buffers;
  buffers.input = workspace.take<float>("input", rows * mlp.hidden);
  buffers.input_panels = workspace.take<float>("input panels", row_panel_floats(kernels, rows, mlp.hidden));
  buffers.hidden = workspace.take<float>("hidden", rows * mlp.first_layer_outputs());
  buffers.activation = workspace.take<float>("activation", rows * units);
  buffers.activation_panels = workspace.take<float>("activation panels", row_panel_floats(kernels, rows, units));
  buffers.output = workspace.take<float>("output", rows * mlp.hidden);
  return buffers;
}

}  // namespace switchyard::cpu
