// SPDX-License-Identifier: Apache-2.0
/// RowPackets: how a row lies on its way to the experts: its values, or its codes with its scales behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "switchyard/experts/experts.hpp"
#include "switchyard/experts/quantization.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cpu {

/// A packet is a whole number of 16-byte words, so that any row dtype can carry it; moves keep bits.
class RowPackets {
 public:
  /// @param quant of the rows on the wire; nothing = plain rows of `dtype`
  RowPackets(std::int64_t hidden, DType dtype, std::optional<QuantSpec> quant);

  [[nodiscard]] std::int64_t row_bytes() const noexcept { return row_bytes_; }
  /// The packets' memory as rows that an executor moves.
  [[nodiscard]] TensorView carrier(std::byte* memory, std::int64_t rows) const;
  /// @param packets [matrix.rows * row_bytes()], written completely
  void pack(QuantizedView const& matrix, std::span<std::byte> packets) const;

  [[nodiscard]] std::int64_t code_bytes() const noexcept { return code_bytes_; }
  /// 0 when all rows share one scale.
  [[nodiscard]] std::int64_t scale_bytes() const noexcept { return scale_bytes_; }

 private:
  DType dtype_;
  std::int64_t row_bytes_ = 0;
  std::int64_t code_bytes_ = 0;
  std::int64_t scale_bytes_ = 0;
};

/// Rows of equal size at equal distances.
struct StridedRows {
  std::byte* data = nullptr;
  std::int64_t stride_bytes = 0;
};
struct ConstStridedRows {
  std::byte const* data = nullptr;
  std::int64_t stride_bytes = 0;
};
/// Copies `bytes` of every row of every block: row i of from_blocks[e] to row i of to_blocks[e].
void copy_blocks(ConstStridedRows from, std::span<RowBlock const> from_blocks, StridedRows to,
                 std::span<RowBlock const> to_blocks, std::int64_t bytes);

}  // namespace switchyard::cpu
