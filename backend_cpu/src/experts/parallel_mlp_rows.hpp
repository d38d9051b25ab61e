// SPDX-License-Identifier: Apache-2.0
/// Matrices of rows that ParallelMlp makes on its way, forward and backward.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "expert_layers.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {

[[nodiscard]] inline std::int64_t largest_block(std::span<RowBlock const> blocks) {
  std::int64_t largest = 0;
  for (RowBlock const& block : blocks) largest = std::max(largest, block.rows);
  return largest;
}

[[nodiscard]] inline std::vector<std::byte> matrix_bytes(std::int64_t rows, std::int64_t columns, DType dtype) {
  return std::vector<std::byte>(to_size(checked_mul(checked_mul(rows, columns), size_of(dtype))));
}

/// The matrix with its floats rounded to `dtype`.
[[nodiscard]] inline std::vector<std::byte> rounded(std::span<float const> values, std::int64_t columns, DType dtype) {
  auto const rows = static_cast<std::int64_t>(values.size()) / std::max<std::int64_t>(columns, 1);
  std::vector<std::byte> out = matrix_bytes(rows, columns, dtype);
  ExpertKernels const& kernels = active_expert_kernels();
  for_rows(rows, columns, [&](std::int64_t row) {
    kernels.add_and_store(values.data() + row * columns, nullptr, dtype, out.data() + row * columns * size_of(dtype),
                          columns);
  });
  return out;
}

}  // namespace switchyard::cpu
