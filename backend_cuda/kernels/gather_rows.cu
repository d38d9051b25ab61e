// SPDX-License-Identifier: Apache-2.0
// Permute, expansion and chunk sort: rows copied by a map. A group of threads takes a row, so that the map is read once
// per row; every thread has four loads in flight before it stores. Words are as wide as row and addresses allow.
#include <cstdint>

#include "cuda_error.hpp"
#include "switchyard/cuda/rows.hpp"

namespace switchyard::cuda {

namespace {

constexpr unsigned kWordsInFlight = 4;
constexpr unsigned kWarp = 32;

template <typename Word, typename Index>
__global__ void gather_rows_kernel(Word const* __restrict__ input, std::int64_t row_words,
                                   Index const* __restrict__ map, std::int64_t num_rows, Word* __restrict__ output) {
  std::int64_t const stride = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < num_rows;
       row += stride) {
    std::int64_t const source = map[row];
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

/// Threads per row: a quarter of its words in whole warps, so that a row ends with the last round; short rows share a
/// block.
dim3 block_of(std::int64_t row_words) {
  std::int64_t const wanted = (row_words + kWordsInFlight - 1) / kWordsInFlight;
  std::int64_t const warps = (wanted + kWarp - 1) / kWarp;
  unsigned const threads = warps * kWarp > kBlockThreads ? kBlockThreads : static_cast<unsigned>(warps) * kWarp;
  return dim3(threads, kBlockThreads / threads);
}

template <typename Word, typename Index>
void launch_words(GatherRowsParams const& params, Index const* map, StreamView stream) {
  std::int64_t const row_words = params.row_bytes / static_cast<std::int64_t>(sizeof(Word));
  dim3 const block = block_of(row_words);
  constexpr std::int64_t kMaxBlocks = 1 << 20;
  std::int64_t const blocks = (params.num_rows + block.y - 1) / block.y;
  gather_rows_kernel<<<static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks), block, 0, stream.handle()>>>(
      static_cast<Word const*>(params.input), row_words, map, params.num_rows, static_cast<Word*>(params.output));
  check_launch("gather_rows_kernel");
}

template <typename Word>
void launch(GatherRowsParams const& params, StreamView stream) {
  if (params.map32 != nullptr) return launch_words<Word>(params, params.map32, stream);
  launch_words<Word>(params, params.map, stream);
}

bool fits(GatherRowsParams const& params, std::uintptr_t word_bytes) {
  auto const row_bytes = static_cast<std::uintptr_t>(params.row_bytes);
  return (row_bytes | reinterpret_cast<std::uintptr_t>(params.input) |
          reinterpret_cast<std::uintptr_t>(params.output)) %
             word_bytes ==
         0;
}

}  // namespace

void launch_gather_rows(GatherRowsParams const& params, StreamView stream) {
  if (params.num_rows <= 0 || params.row_bytes <= 0) return;
  if (fits(params, 16)) return launch<uint4>(params, stream);
  if (fits(params, 8)) return launch<unsigned long long>(params, stream);
  if (fits(params, 4)) return launch<unsigned>(params, stream);
  if (fits(params, 2)) return launch<unsigned short>(params, stream);
  launch<unsigned char>(params, stream);
}

}  // namespace switchyard::cuda
