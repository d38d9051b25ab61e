// SPDX-License-Identifier: Apache-2.0
#include "panel_product.hpp"

#include <algorithm>
#include <vector>

#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

std::int64_t panels_of(std::int64_t lanes, std::int64_t width) {
  return (lanes + width - 1) / width;
}

/// Steps whose panel of columns stays in the first-level cache next to a panel of rows.
constexpr std::int64_t kStepsAtOnce = 256;

/// Steps [begin, end) of a panel of columns, for all rows.
struct StepRange {
  std::int64_t begin;
  std::span<std::int64_t const> ends;  ///< of its segments, counted from `begin`
  bool accumulate;
};

void multiply_steps(ExpertKernels const& kernels, PanelProduct const& product, StepRange const& range,
                    std::int64_t first_column, float const* panel) {
  for (std::int64_t row = 0; row < product.rows; row += kernels.tile_rows)
    kernels.chain_tile({product.row_panels + row * product.steps + range.begin * kernels.tile_rows,
                        panel + range.begin * kernels.tile_columns, range.ends.data(),
                        static_cast<std::int64_t>(range.ends.size()),
                        product.out + row * product.columns + first_column, product.columns,
                        std::min(kernels.tile_rows, product.rows - row),
                        std::min(kernels.tile_columns, product.columns - first_column), range.accumulate});
}

/// A single segment is done piece by piece: its chains continue from the output.
void multiply_panel(ExpertKernels const& kernels, PanelProduct const& product, std::int64_t first_column,
                    float const* panel) {
  if (product.segment_ends.size() != 1)
    return multiply_steps(kernels, product, {0, product.segment_ends, product.accumulate}, first_column, panel);
  std::int64_t begin = 0;
  do {
    std::int64_t const steps = std::min(kStepsAtOnce, product.steps - begin);
    multiply_steps(kernels, product, {begin, {&steps, 1}, product.accumulate || begin > 0}, first_column, panel);
    begin += steps;
  } while (begin < product.steps);
}

}  // namespace

ExpertKernels const& active_expert_kernels() {
  switch (active_instruction_set()) {
#if defined(SWITCHYARD_X86_TARGETS)
    case InstructionSet::x86_64_v2: return x86_64_v2::kExpertKernels;
    case InstructionSet::x86_64_v3: return x86_64_v3::kExpertKernels;
    case InstructionSet::x86_64_v4: return x86_64_v4::kExpertKernels;
#endif
    default: return baseline::kExpertKernels;
  }
}

std::int64_t row_panel_floats(ExpertKernels const& kernels, std::int64_t rows, std::int64_t steps) {
  return panels_of(rows, kernels.tile_rows) * kernels.tile_rows * steps;
}

void pack_row_panels(ExpertKernels const& kernels, PanelSource const& source, float* panels) {
  std::int64_t const width = kernels.tile_rows;
  parallel_for(panels_of(source.lanes, width), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      PanelSource part = source;
      part.data =
          static_cast<std::byte const*>(source.data) + panel * width * source.lane_stride * size_of(source.dtype);
      part.lanes = std::min(width, source.lanes - panel * width);
      kernels.pack(part, width, panels + panel * width * source.steps);
    }
  });
}

void multiply(ExpertKernels const& kernels, PanelProduct const& product, PackColumns const& pack_columns) {
  if (product.rows == 0) return;
  std::int64_t const width = kernels.tile_columns;
  parallel_for(panels_of(product.columns, width), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> panel(to_size(width * product.steps));
    for (std::int64_t index = begin; index < end; ++index) {
      std::int64_t const first = index * width;
      pack_columns(first, std::min(width, product.columns - first), panel.data());
      multiply_panel(kernels, product, first, panel.data());
    }
  });
}

}  // namespace switchyard::cpu
