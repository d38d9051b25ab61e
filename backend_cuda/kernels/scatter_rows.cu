// SPDX-License-Identifier: Apache-2.0
// Permute and expansion by source: a group of threads loads a row once and stores it to all of its places, so that a
// row with many places crosses the memory bus once on the way in. Stores are streaming: nobody reads them soon.
#include "cuda_error.hpp"
#include "row_words.cuh"
#include "switchyard/cuda/rows.hpp"

namespace switchyard::cuda {

namespace {

template <typename Word>
__global__ void scatter_rows_kernel(Word const* __restrict__ input, std::int64_t row_words,
                                    std::int64_t const* __restrict__ begin, std::int32_t const* __restrict__ places,
                                    std::int64_t num_sources, Word* __restrict__ output) {
  std::int64_t const stride = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
  for (std::int64_t source = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; source < num_sources;
       source += stride) {
    std::int64_t const first_place = begin[source];
    std::int64_t const last_place = begin[source + 1];
    if (first_place == last_place) continue;
    Word const* const from = input + source * row_words;
    copy_to_places(input + source * row_words, row_words, places + first_place, last_place - first_place, output);
  }
}

}  // namespace

void launch_scatter_rows(ScatterRowsParams const& params, StreamView stream) {
  if (params.num_sources <= 0 || params.row_bytes <= 0) return;
  by_row_word(params.row_bytes, params.input, params.output, [&](auto word) {
    using Word = decltype(word);
    std::int64_t const row_words = params.row_bytes / static_cast<std::int64_t>(sizeof(Word));
    dim3 const block = block_of_rows(row_words);
    scatter_rows_kernel<<<blocks_of_rows(params.num_sources, block, params.max_blocks), block, 0, stream.handle()>>>(
        static_cast<Word const*>(params.input), row_words, params.begin, params.places, params.num_sources,
        static_cast<Word*>(params.output));
  });
  check_launch("scatter_rows_kernel");
}

}  // namespace switchyard::cuda
