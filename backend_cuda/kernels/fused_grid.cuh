// SPDX-License-Identifier: Apache-2.0
/// launch_duplex(): the block shape and grid of a kernel whose blocks draw rows.
#pragma once

#include "fused_grid.hpp"
#include "row_words.cuh"
#include "switchyard/cuda/stream.hpp"

namespace switchyard::cuda {

/// Of a block that has one row of the few, or as many as the row has words.
inline constexpr unsigned kWideThreads = 1024;

/// @param narrow where rows are many: threads take kWordsInFlight words of a row, and blocks hide each other's waits
/// @param wide where every multiprocessor has a block or two: the way of one row is all that counts
template <typename Params>
void launch_duplex(void (*narrow)(Params), void (*wide)(Params), Params const& params, std::int64_t row_words,
                   std::int64_t rows, StreamView stream) {
  int const processors = multiprocessors();
  bool const is_few = rows <= 2 * processors && row_words > kBlockThreads;
  auto const whole_warps = (row_words + 31) / 32 * 32;
  dim3 const block = !is_few                      ? block_of_rows(row_words)
                     : whole_warps < kWideThreads ? dim3(static_cast<unsigned>(whole_warps))
                                                  : dim3(kWideThreads);
  auto* const kernel = is_few ? wide : narrow;
  unsigned const blocks = resident_blocks(reinterpret_cast<void const*>(kernel), block, rows, processors);
  kernel<<<blocks, block, 0, stream.handle()>>>(params);
}

}  // namespace switchyard::cuda
