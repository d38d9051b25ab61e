// SPDX-License-Identifier: Apache-2.0
/// How rows of bytes are cut into words: the widest that sizes and addresses allow, a group of threads per row.
#pragma once

#include <cstdint>

#include "cuda_error.hpp"

namespace switchyard::cuda {

/// Words that every thread loads before it stores the first.
inline constexpr unsigned kWordsInFlight = 4;

/// Threads per row: a quarter of its words in whole warps, so that a row ends with the last round; short rows share a
/// block.
inline dim3 block_of_rows(std::int64_t row_words) {
  constexpr unsigned kWarp = 32;
  std::int64_t const wanted = (row_words + kWordsInFlight - 1) / kWordsInFlight;
  std::int64_t const warps = (wanted + kWarp - 1) / kWarp;
  if (warps == 0) return dim3(kWarp, kBlockThreads / kWarp);
  unsigned const threads = warps * kWarp > kBlockThreads ? kBlockThreads : static_cast<unsigned>(warps) * kWarp;
  return dim3(threads, kBlockThreads / threads);
}

/// Loads a row once and stores it to all of its places, streaming. A null row stores zeros.
template <typename Word>
__device__ inline void copy_to_places(Word const* from, std::int64_t row_words, std::int32_t const* __restrict__ places,
                                      std::int64_t num_places, Word* output) {
  for (std::int64_t first = threadIdx.x; first < row_words;
       first += static_cast<std::int64_t>(kWordsInFlight) * blockDim.x) {
    Word words[kWordsInFlight] = {};
#pragma unroll
    for (unsigned i = 0; i < kWordsInFlight; ++i)
      if (from != nullptr && first + i * blockDim.x < row_words) words[i] = __ldcs(from + first + i * blockDim.x);
#pragma unroll 4
    for (std::int64_t place = 0; place < num_places; ++place) {
      Word* const to = output + static_cast<std::int64_t>(places[place]) * row_words + first;
#pragma unroll
      for (unsigned i = 0; i < kWordsInFlight; ++i)
        if (first + i * blockDim.x < row_words) __stcs(to + i * blockDim.x, words[i]);
    }
  }
}

/// Blocks for `rows` rows, for kernels that stride over what is left.
inline unsigned blocks_of_rows(std::int64_t rows, dim3 block, std::int64_t max_blocks = 1 << 20) {
  std::int64_t const blocks = (rows + block.y - 1) / block.y;
  return static_cast<unsigned>(blocks < max_blocks ? blocks : max_blocks);
}

/// Calls launch(Word{}) for the widest word that divides the row and both addresses.
template <typename Launch>
void by_row_word(std::int64_t row_bytes, void const* input, void const* output, Launch const& launch) {
  std::uintptr_t const bits = static_cast<std::uintptr_t>(row_bytes) | reinterpret_cast<std::uintptr_t>(input) |
                              reinterpret_cast<std::uintptr_t>(output);
  if (bits % 16 == 0) return launch(uint4{});
  if (bits % 8 == 0) return launch(0ULL);
  if (bits % 4 == 0) return launch(0U);
  if (bits % 2 == 0) return launch(static_cast<unsigned short>(0));
  launch(static_cast<unsigned char>(0));
}

}  // namespace switchyard::cuda
