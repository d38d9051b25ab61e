// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/quantize.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "check_call.hpp"
#include "expert_layers.hpp"
#include "quantize_kernels.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

QuantizeKernels const& active_quantize_kernels() {
  switch (active_instruction_set()) {
#if defined(SWITCHYARD_X86_TARGETS)
    case InstructionSet::x86_64_v2: return x86_64_v2::kQuantizeKernels;
    case InstructionSet::x86_64_v3: return x86_64_v3::kQuantizeKernels;
    case InstructionSet::x86_64_v4: return x86_64_v4::kQuantizeKernels;
#endif
    default: return baseline::kQuantizeKernels;
  }
}

/// Rows of a matrix and where they go.
struct RowsToQuantize {
  QuantizeKernels const& kernels;
  QuantizeTask task;
  std::byte const* values;
  std::int64_t rows;
  std::int64_t columns;

  [[nodiscard]] std::byte const* row(std::int64_t index) const {
    return values + index * columns * size_of(task.dtype);
  }
};

/// A maximum over rows: its order cannot matter.
float tensor_absmax(RowsToQuantize const& source) {
  std::vector<float> of_row(to_size(source.rows));
  for_rows(source.rows, source.columns, [&](std::int64_t row) {
    of_row[to_size(row)] = source.kernels.absmax(source.row(row), source.task.dtype, source.columns);
  });
  return of_row.empty() ? 0.0f : *std::max_element(of_row.begin(), of_row.end());
}

void quantize_rows(RowsToQuantize const& source, QuantSizes const& sizes, bool scales_per_row, QuantizedMatrix& out) {
  std::int64_t const scale_row_bytes = scales_per_row && source.rows > 0 ? sizes.scale_bytes / source.rows : 0;
  for_rows(source.rows, source.columns, [&](std::int64_t row) {
    std::byte* const scales = scales_per_row || row == 0 ? out.scales.data() + row * scale_row_bytes : nullptr;
    source.kernels.row(source.task, source.row(row), source.columns, out.codes.data() + row * sizes.code_row_bytes,
                       scales);
  });
}

}  // namespace

void quantize(QuantSpec const& spec, ConstTensorView const& values, QuantizedMatrix& out) {
  spec.validate();
  require_matrix(values, "values to quantise", out.rows, out.columns);
  SWITCHYARD_REQUIRE(out.layout == spec.layout(), shape_mismatch,
                     "the matrix to write was not made for quantisation {}: its codes are {}", to_string(spec.scheme),
                     to_string(out.layout.code));
  out.view().validate();
  out.tensor_scale = spec.tensor_scale;
  if (out.rows == 0 || out.columns == 0) return;
  hd::FloatEnvGuard const float_env;
  std::int64_t const group = out.layout.group_columns == 0 ? out.columns : out.layout.group_columns;
  RowsToQuantize source{
      active_quantize_kernels(),
      {spec.scheme, values.dtype(), group, spec.given_scale, spec.upper_bound, spec.tensor_scale, nullptr},
      static_cast<std::byte const*>(values.data()),
      out.rows,
      out.columns};
  float absmax = 0.0f;
  if (spec.scheme == QuantScheme::fp8_tensor_dynamic) absmax = tensor_absmax(source);
  if (!spec.scales_per_row()) source.task.tensor_absmax = &absmax;
  quantize_rows(source, quant_sizes(out.layout, out.rows, out.columns), spec.scales_per_row(), out);
}

QuantizedMatrix quantize(QuantSpec const& spec, ConstTensorView const& values) {
  int const rank = values.shape().rank();
  SWITCHYARD_REQUIRE(rank >= 1, shape_mismatch, "a value without extents cannot be quantised by rows");
  std::int64_t const columns = values.extent(rank - 1);
  std::int64_t const rows = columns == 0 ? 0 : values.shape().num_elements() / columns;
  QuantizedMatrix out = QuantizedMatrix::make(spec, rows, columns);
  quantize(spec, values, out);
  return out;
}

void dequantize(QuantizedView const& matrix, std::span<float> out) {
  matrix.validate();
  SWITCHYARD_REQUIRE(matrix.columns == 0 || static_cast<std::int64_t>(out.size()) / matrix.columns == matrix.rows,
                     shape_mismatch, "{} floats for a quantised {} x {} matrix", out.size(), matrix.rows,
                     matrix.columns);
  hd::FloatEnvGuard const float_env;
  for_rows(matrix.rows, matrix.columns, [&](std::int64_t row) {
    dequantize_row(matrix, row, 0, out.subspan(to_size(row * matrix.columns), to_size(matrix.columns)));
  });
}

}  // namespace switchyard::cpu
