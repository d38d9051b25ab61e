// SPDX-License-Identifier: Apache-2.0
/// Copying rows by a map: what permute, unpermute and chunk sort are. Row i of the output is row map[i] of the input.
///
/// A move keeps bits, NaN payloads included, so rows are copied as words of any type that divides the row. A negative
/// map entry (a padding row) writes zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "switchyard/types/host_device.hpp"

namespace switchyard::hd {

/// One word of one output row (a kernel's thread). @param input,output rows of `row_words` words each
template <typename Word>
SWITCHYARD_HD inline void gather_word(Word const* input, std::int64_t row_words, std::int64_t const* map,
                                      std::int64_t row, std::int64_t word, Word* output) noexcept {
  std::int64_t const source = map[row];
  output[row * row_words + word] = source < 0 ? Word{} : input[source * row_words + word];
}

/// One whole output row (a CPU loop). @param input,output rows of `row_bytes` bytes each, not overlapping
inline void gather_row(std::byte const* input, std::int64_t row_bytes, std::int64_t const* map, std::int64_t row,
                       std::byte* output) noexcept {
  if (row_bytes == 0) return;
  std::int64_t const source = map[row];
  std::byte* const target = output + row * row_bytes;
  if (source < 0) {
    std::memset(target, 0, static_cast<std::size_t>(row_bytes));
  } else {
    std::memcpy(target, input + source * row_bytes, static_cast<std::size_t>(row_bytes));
  }
}

}  // namespace switchyard::hd
