// SPDX-License-Identifier: Apache-2.0
/// The kernel of ChainProduct: one block of threads per tile, panels double-buffered in shared memory.
#pragma once

#include "chain_finish.cuh"
#include "cuda_error.hpp"

namespace switchyard::cuda {

__device__ inline TileSide side_of(ChainOperand const& operand, RowTile const& rows, std::int64_t first,
                                   std::int64_t lines) {
  bool const own = operand.expert_stride != 0;
  return {&operand, lines, first, own ? 0 : rows.first_row, rows.expert * operand.expert_stride, rows.expert};
}

template <typename Tile>
struct TilePanels {
  TilePanel<Tile::kSteps, Tile::kRows> left[2];
  TilePanel<Tile::kSteps, Tile::kColumns> right[2];
};

/// The chains of one segment, [begin, end), from +0.
template <typename Tile, ChainLines kLines, bool kCoded>
__device__ inline void chain_segment(TileSide const& left, TileSide const& right, std::int64_t begin, std::int64_t end,
                                     ThreadPlace<Tile> const& place, TilePanels<Tile>& panels, float (&sums)[8][8]) {
  constexpr int kSteps = Tile::kSteps;
  PanelPart<kLines != ChainLines::both_across, kCoded, kSteps, Tile::kRows, Tile::kThreads> left_part;
  PanelPart<kLines == ChainLines::both_along, kCoded, kSteps, Tile::kColumns, Tile::kThreads> right_part;
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j) sums[i][j] = 0.0f;
  if (begin >= end) return;
  left_part.load(left, begin, end);
  right_part.load(right, begin, end);
  left_part.store(panels.left[0]);
  right_part.store(panels.right[0]);
  __syncthreads();
  int current = 0;
  for (std::int64_t step = begin; step < end; step += kSteps, current = 1 - current) {
    bool const more = step + kSteps < end;
    if (more) {
      left_part.load(left, step + kSteps, end);
      right_part.load(right, step + kSteps, end);
    }
    if (end - step >= kSteps) {
      add_steps<true>(panels.left[current], panels.right[current], kSteps, place, sums);
    } else {
      add_steps<false>(panels.left[current], panels.right[current], static_cast<int>(end - step), place, sums);
    }
    if (more) {
      left_part.store(panels.left[1 - current]);
      right_part.store(panels.right[1 - current]);
    }
    __syncthreads();
  }
}

/// A thread's results, four neighbours at a time where memory takes them so.
template <typename Tile>
__device__ inline void store_tile(OutputTile const& out, ProductTile const& tile, ThreadPlace<Tile> const& place,
                                  float const (&sums)[8][8]) {
  bool const fours = out.takes_four();
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (place.row_of(i) >= tile.row_count) continue;
    std::int64_t const line = out.line_of(tile.rows.begin + place.row_of(i)) + tile.first_column;
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      std::int64_t const count = tile.column_count - place.column_of(j);
      float value[4];
#pragma unroll
      for (int k = 0; k < 4; ++k)
        value[k] = k < count ? out.finished(tile.first_column + place.column_of(j) + k, sums[i][j + k]) : 0.0f;
      if (fours && count >= 4) {
        out.store_four(line + place.column_of(j), value);
        continue;
      }
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < count) store_narrow(out.out.data, out.out.dtype, line + place.column_of(j) + k, value[k]);
    }
  }
}

template <typename Tile, ChainLines kLines, bool kCoded>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerMultiprocessor)
    chain_kernel(__grid_constant__ ChainProduct const product) {
  __shared__ alignas(16) TilePanels<Tile> panels;
  ProductTile const tile = find_product_tile<Tile::kRows, Tile::kColumns>(product);
  if (tile.rows.expert < 0) return;
  TileSide const left = side_of(product.left, tile.rows, tile.rows.begin, tile.row_count);
  TileSide const right = side_of(product.right, tile.rows, tile.first_column, tile.column_count);
  ThreadPlace<Tile> const place;
  float sums[8][8];
  WaitingSums<8, 8> waiting;
  std::int64_t begin = 0;
  for (int segment = 0; segment < product.segments; ++segment) {
    std::int64_t const end = product.segments == 1 ? tile.steps : product.segment_ends[segment];
    chain_segment<Tile, kLines, kCoded>(left, right, begin, end, place, panels, sums);
    if (product.segments > 1) waiting.fold(segment, sums);
    begin = end;
  }
  store_tile(output_of(product, tile.rows), tile, place, sums);
}

template <typename Tile, ChainLines kLines, bool kCoded>
void launch_tiles(ChainProduct const& product, StreamView stream) {
  unsigned const blocks = product_blocks(product, Tile::kRows, Tile::kColumns);
  if (blocks == 0) return;
  chain_kernel<Tile, kLines, kCoded><<<blocks, Tile::kThreads, 0, stream.handle()>>>(product);
  check_launch("chain_kernel");
}

/// Whether most rows of wide tiles would be empty, as far as the host knows: counts lie on the device.
inline bool rows_are_few(ChainProduct const& product) {
  constexpr std::int64_t kFewRows = 96;
  return !product.over_rows && product.total_rows <= kFewRows * product.experts;
}

template <ChainLines kLines, bool kCoded>
void launch_chains(ChainProduct const& product, StreamView stream) {
  if constexpr (kLines != ChainLines::both_across) {
    if (rows_are_few(product)) return launch_tiles<FlatTile, kLines, kCoded>(product, stream);
  }
  launch_tiles<WideTile, kLines, kCoded>(product, stream);
}

}  // namespace switchyard::cuda
