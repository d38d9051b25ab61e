// SPDX-License-Identifier: Apache-2.0
/// Which expert and which of its rows a block of threads works on, from the list of row blocks on the device.
#pragma once

#include <cstdint>

#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

struct RowTile {
  int expert = -1;             ///< -1: no tile has this number
  std::int64_t first_row = 0;  ///< of the expert's block, flattened
  std::int64_t block_rows = 0;
  std::int64_t begin = 0;  ///< within the block
};

/// Tiles of all experts number at most this many.
inline std::int64_t tiles_at_most(std::int64_t total_rows, int experts, std::int64_t tile_rows) {
  return total_rows / tile_rows + experts;
}

/// This lane's value and those of the lanes before it. Called by whole warps.
__device__ inline std::int64_t through_lane(int lane, std::int64_t value) {
  for (int distance = 1; distance < 32; distance *= 2) {
    std::int64_t const other = __shfl_up_sync(0xffffffffu, value, static_cast<unsigned>(distance));
    if (lane >= distance) value += other;
  }
  return value;
}

/// The `index`-th tile of `tile_rows` rows, experts ascending. Every warp finds it for itself.
__device__ inline RowTile find_row_tile(RowBlock const* blocks, int experts, std::int64_t tile_rows,
                                        std::int64_t index) {
  int const lane = static_cast<int>(threadIdx.x + threadIdx.y * blockDim.x) % 32;
  std::int64_t before = 0;
  for (int first = 0; first < experts; first += 32) {
    int const expert = first + lane;
    std::int64_t const tiles = expert < experts ? (blocks[expert].rows + tile_rows - 1) / tile_rows : 0;
    std::int64_t const through = through_lane(lane, tiles);
    std::int64_t const begin = before + through - tiles;
    unsigned const holds = __ballot_sync(0xffffffffu, index >= begin && index < begin + tiles);
    if (holds != 0) {
      int const owner = __ffs(static_cast<int>(holds)) - 1;
      std::int64_t const tile = index - __shfl_sync(0xffffffffu, begin, owner);
      RowBlock const block = blocks[first + owner];
      return {first + owner, block.first_row, block.rows, tile * tile_rows};
    }
    before += __shfl_sync(0xffffffffu, through, 31);
  }
  return {};
}

}  // namespace switchyard::cuda
