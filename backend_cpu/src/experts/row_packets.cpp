// SPDX-License-Identifier: Apache-2.0
#include "row_packets.hpp"

#include <algorithm>
#include <cstring>

#include "switchyard/internal/prepare_pair.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
RowPackets::RowPackets(std::int64_t hidden, DType dtype, std::optional<QuantSpec> quant) : dtype_(dtype) {
  auto const sizes = internal::packet_sizes(hidden, dtype, quant);
  row_bytes_ = sizes.row_bytes;
  code_bytes_ = sizes.code_bytes;
  scale_bytes_ = sizes.scale_bytes;
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
