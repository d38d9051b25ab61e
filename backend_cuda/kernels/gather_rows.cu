// SPDX-License-Identifier: Apache-2.0
// Permute, expansion and chunk sort: rows copied by a map. A group of threads takes a row, so that the map is read once
// per row; every thread has four loads in flight before it stores. Words are as wide as row and addresses allow.
#include <cstdint>

#include "cuda_error.hpp"
#include "row_words.cuh"
#include "switchyard/cuda/rows.hpp"

namespace switchyard::cuda {

namespace {

template <typename Word, typename Index>
__global__ void gather_rows_kernel(Word const* __restrict__ input, std::int64_t row_words,
                                   Index const* __restrict__ map, std::int64_t num_rows, Word* __restrict__ output) {
  std::int64_t const stride = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < num_rows;
       row += stride) {
    std::int64_t const source = map[row];
    if (source == kSkippedRow) continue;
    Word const* const from = input + source * row_words;
    Word* const to = output + row * row_words;
    for (std::int64_t first = threadIdx.x; first < row_words;
         first += static_cast<std::int64_t>(kWordsInFlight) * blockDim.x) {
      Word words[kWordsInFlight] = {};
#pragma unroll
      for (unsigned i = 0; i < kWordsInFlight; ++i)
        if (source >= 0 && first + i * blockDim.x < row_words) words[i] = __ldcs(from + first + i * blockDim.x);
#pragma unroll
      for (unsigned i = 0; i < kWordsInFlight; ++i)
        if (first + i * blockDim.x < row_words) __stcs(to + first + i * blockDim.x, words[i]);
    }
  }
}

template <typename Word, typename Index>
void launch(GatherRowsParams const& params, Index const* map, StreamView stream) {
  std::int64_t const row_words = params.row_bytes / static_cast<std::int64_t>(sizeof(Word));
  dim3 const block = block_of_rows(row_words);
  gather_rows_kernel<<<blocks_of_rows(params.num_rows, block, params.max_blocks), block, 0, stream.handle()>>>(
      static_cast<Word const*>(params.input), row_words, map, params.num_rows, static_cast<Word*>(params.output));
  check_launch("gather_rows_kernel");
}

}  // namespace

void launch_gather_rows(GatherRowsParams const& params, StreamView stream) {
  if (params.num_rows <= 0 || params.row_bytes <= 0) return;
  by_row_word(params.row_bytes, params.input, params.output, [&](auto word) {
    using Word = decltype(word);
    if (params.map32 != nullptr) return launch<Word>(params, params.map32, stream);
    launch<Word>(params, params.map, stream);
  });
}

}  // namespace switchyard::cuda
