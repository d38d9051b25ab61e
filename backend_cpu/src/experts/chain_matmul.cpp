// SPDX-License-Identifier: Apache-2.0
#include "chain_matmul.hpp"

#include <vector>

#include "panel_product.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {

void chain_matmul(ChainOperand const& left, std::int64_t left_lanes, ChainOperand const& right,
                  std::int64_t right_lanes, std::int64_t steps, float* out) {
  ExpertKernels const& kernels = active_expert_kernels();
  std::vector<float> panels(to_size(row_panel_floats(kernels, left_lanes, steps)));
  pack_row_panels(kernels, {left.data, left.dtype, left.lane_stride, left.step_stride, left_lanes, steps, nullptr},
                  panels.data());
  PanelProduct const product{panels.data(), left_lanes, right_lanes, steps, {&steps, 1}, out};
  multiply(kernels, product, [&](std::int64_t first, std::int64_t lanes, float* panel) {
    auto const* const start =
        static_cast<std::byte const*>(right.data) + first * right.lane_stride * size_of(right.dtype);
    kernels.pack({start, right.dtype, right.lane_stride, right.step_stride, lanes, steps, nullptr},
                 kernels.tile_columns, panel);
  });
}

}  // namespace switchyard::cpu
