// SPDX-License-Identifier: Apache-2.0
/// launch_duplex(): the block shape and grid of one direction of the fused path.
#pragma once

#include "fused_few.cuh"
#include "fused_grid.hpp"
#include "plan_launch.cuh"
#include "plan_tile.cuh"
#include "row_words.cuh"
#include "switchyard/cuda/stream.hpp"

namespace switchyard::cuda {

/// Of a block that has one row of the few: as many as the row has words, and the courier's.
inline constexpr std::int64_t kFewThreads = 1024;

struct DuplexRows {
  std::int64_t words;  ///< of a row
  std::int64_t produced;
  std::int64_t consumed;  ///< at most
};

/// @param many draws rows: threads take kWordsInFlight words of a row, and blocks hide each other's waits
/// @param few where there are no more rows to produce or to consume than multiprocessors: a row's way is all that
/// counts
template <typename Params>
void launch_duplex(char const* name, void (*many)(Params), void (*few)(Params), Params const& params,
                   DuplexRows const& rows, StreamView stream) {
  int const processors = multiprocessors();
  std::int64_t const longest = rows.produced > rows.consumed ? rows.produced : rows.consumed;
  // Every block of a few has a multiprocessor of its own, and the one that speaks to the peers has one, too.
  bool const is_few = longest < processors && longest <= kMostClaims && rows.words > kBlockThreads &&
                      params.call.windows.world <= kFewRanks;
  if (is_few) {
    std::int64_t const wanted = (rows.words + kWarp - 1) / kWarp * kWarp + kCourierThreads;
    auto const threads = static_cast<unsigned>(wanted < kFewThreads ? wanted : kFewThreads);
    launch_close(name, few, dim3(static_cast<unsigned>(longest) + 1), dim3(threads), 0, stream, params);
    return;
  }
  dim3 const block = block_of_rows(rows.words);
  unsigned const blocks =
      resident_blocks(reinterpret_cast<void const*>(many), block, rows.produced + rows.consumed, processors);
  launch_close(name, many, dim3(blocks), block, 0, stream, params);
}

}  // namespace switchyard::cuda
