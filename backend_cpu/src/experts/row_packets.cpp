// SPDX-License-Identifier: Apache-2.0
#include "row_packets.hpp"

#include <algorithm>
#include <cstring>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

constexpr std::int64_t kPacketAlignment = 16;

}  // namespace

RowPackets::RowPackets(std::int64_t hidden, DType dtype, std::optional<QuantSpec> quant) : dtype_(dtype) {
  if (!quant) {
    row_bytes_ = checked_mul(hidden, size_of(dtype));
    return;
  }
  QuantSizes const row = quant_sizes(quant->layout(), 1, hidden);
  code_bytes_ = row.code_row_bytes;
  scale_bytes_ = quant->scales_per_row() ? row.scale_bytes : 0;
  row_bytes_ = (code_bytes_ + scale_bytes_ + kPacketAlignment - 1) / kPacketAlignment * kPacketAlignment;
}

TensorView RowPackets::carrier(std::byte* memory, std::int64_t rows) const {
  return {memory, dtype_, {rows, row_bytes_ / size_of(dtype_)}};
}

void RowPackets::pack(QuantizedView const& matrix, std::span<std::byte> packets) const {
  std::ranges::fill(packets, std::byte{0});
  for (std::int64_t row = 0; row < matrix.rows; ++row) {
    std::byte* const to = packets.data() + row * row_bytes_;
    std::memcpy(to, matrix.codes.data() + row * code_bytes_, to_size(code_bytes_));
    if (scale_bytes_ > 0)
      std::memcpy(to + code_bytes_, matrix.scales.data() + row * scale_bytes_, to_size(scale_bytes_));
  }
}

void copy_blocks(ConstStridedRows from, std::span<RowBlock const> from_blocks, StridedRows to,
                 std::span<RowBlock const> to_blocks, std::int64_t bytes) {
  if (bytes == 0) return;
  for (std::size_t expert = 0; expert < from_blocks.size(); ++expert)
    for (std::int64_t i = 0; i < from_blocks[expert].rows; ++i)
      std::memcpy(to.data + (to_blocks[expert].first_row + i) * to.stride_bytes,
                  from.data + (from_blocks[expert].first_row + i) * from.stride_bytes, to_size(bytes));
}

}  // namespace switchyard::cpu
