// SPDX-License-Identifier: Apache-2.0
// Permute and chunk sort: naive row gather, one thread per word, the widest word that divides row and addresses.
#include <cstdint>

#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/hd/gather_step.hpp"

namespace switchyard::cuda {

namespace {

template <typename Word>
__global__ void gather_rows_kernel(Word const* input, std::int64_t row_words, std::int64_t const* map,
                                   std::int64_t num_rows, Word* output) {
  for (std::int64_t i = first_item(); i < num_rows * row_words; i += item_stride())
    hd::gather_word(input, row_words, map, i / row_words, i % row_words, output);
}

template <typename Word>
void launch(GatherRowsParams const& params, StreamView stream) {
  std::int64_t const row_words = params.row_bytes / static_cast<std::int64_t>(sizeof(Word));
  gather_rows_kernel<<<grid_blocks(params.num_rows * row_words), kBlockThreads, 0, stream.handle()>>>(
      static_cast<Word const*>(params.input), row_words, params.map, params.num_rows,
      static_cast<Word*>(params.output));
  check_launch("gather_rows_kernel");
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
  if (fits(params, 8)) return launch<std::uint64_t>(params, stream);
  if (fits(params, 4)) return launch<std::uint32_t>(params, stream);
  if (fits(params, 2)) return launch<std::uint16_t>(params, stream);
  launch<std::uint8_t>(params, stream);
}

}  // namespace switchyard::cuda
