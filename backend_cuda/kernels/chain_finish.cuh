// SPDX-License-Identifier: Apache-2.0
/// What follows a chain: the fixed tree over segments, and canonical NaN, bias and rounding on the way to memory.
#pragma once

#include <cstdint>

#include "chain_tile.cuh"
#include "expert_tiles.cuh"

namespace switchyard::cuda {

/// Subtree sums that wait for their right neighbours, one per level: 8 segments have 3 levels below the root.
template <int kRows, int kColumns>
struct WaitingSums {
  static constexpr int kLevels = 3;
  float sum[kLevels][kRows][kColumns];

  /// Adds the chains of segment `segment` to what they complete; the last segment leaves the whole sum in `sums`.
  __device__ void fold(int segment, float (&sums)[kRows][kColumns]) {
    int level = 0;
    for (; level < kLevels && ((segment >> level) & 1) != 0; ++level)
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) sums[i][j] = hd::add_rn(sum[level][i][j], sums[i][j]);
    if (level < kLevels)
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) sum[level][i][j] = sums[i][j];
  }
};

__device__ inline float rounded(float value, DType dtype) {
  if (dtype == DType::bf16) return hd::widen(hd::narrow<bf16_t>(value));
  if (dtype == DType::f16) return hd::widen(hd::narrow<f16_t>(value));
  return hd::canonical(value);
}

__device__ inline void store_narrow(void* data, DType dtype, std::int64_t index, float value) {
  if (dtype == DType::bf16) {
    static_cast<bf16_t*>(data)[index] = hd::narrow<bf16_t>(value);
  } else if (dtype == DType::f16) {
    static_cast<f16_t*>(data)[index] = hd::narrow<f16_t>(value);
  } else {
    static_cast<float*>(data)[index] = hd::narrow<float>(value);
  }
}

/// Where the results of a tile go.
struct OutputTile {
  ChainOutput const& out;
  int expert;
  std::int64_t first_row;  ///< flattened row of the block; 0 for a matrix of its own
  std::int64_t columns;    ///< of the result

  /// Where the results of a row begin. @param row of the expert's result
  __device__ std::int64_t line_of(std::int64_t row) const {
    std::int64_t const position = first_row + row;
    return expert * out.expert_stride + (out.map == nullptr ? position : out.map[position]) * out.stride;
  }
  __device__ float finished(std::int64_t column, float sum) const {
    float value = hd::canonical(sum);
    if (out.bias != nullptr) value = hd::add_rn(value, widen_at(out.bias, out.bias_dtype, expert * columns + column));
    return out.dtype == DType::f32 ? rounded(value, out.rounding) : value;
  }
  __device__ void store(std::int64_t row, std::int64_t column, float sum) const {
    store_narrow(out.data, out.dtype, line_of(row) + column, finished(column, sum));
  }
  /// Whether four neighbouring results from a multiple of four on can be stored at once.
  __device__ bool takes_four() const {
    return reinterpret_cast<std::uintptr_t>(out.data) % 16 == 0 && out.stride % 4 == 0 && out.expert_stride % 4 == 0;
  }
  /// @param index of the first of four results
  __device__ void store_four(std::int64_t index, float const (&value)[4]) const {
    if (out.dtype == DType::f32) {
      float4 const four = make_float4(hd::narrow<float>(value[0]), hd::narrow<float>(value[1]),
                                      hd::narrow<float>(value[2]), hd::narrow<float>(value[3]));
      *reinterpret_cast<float4*>(static_cast<float*>(out.data) + index) = four;
    } else if (out.dtype == DType::bf16) {
      store_halves<bf16_t>(index, value);
    } else {
      store_halves<f16_t>(index, value);
    }
  }

 private:
  template <typename T>
  __device__ void store_halves(std::int64_t index, float const (&value)[4]) const {
    struct alignas(8) Four {
      T value[4];
    } four;
#pragma unroll
    for (int i = 0; i < 4; ++i) four.value[i] = hd::narrow<T>(value[i]);
    *reinterpret_cast<Four*>(static_cast<T*>(out.data) + index) = four;
  }
};

/// Rows and columns of the results that a block of threads computes.
struct ProductTile {
  RowTile rows;
  std::int64_t first_column;
  std::int64_t row_count;     ///< that exist from rows.begin on
  std::int64_t column_count;  ///< that exist from first_column on
  std::int64_t steps;
};

template <int kTileRows, int kTileColumns>
__device__ inline ProductTile find_product_tile(ChainProduct const& product) {
  std::int64_t const across = (product.columns + kTileColumns - 1) / kTileColumns;
  std::int64_t const index = static_cast<std::int64_t>(blockIdx.x) / across;
  ProductTile tile;
  tile.first_column = static_cast<std::int64_t>(blockIdx.x) % across * kTileColumns;
  tile.column_count = product.columns - tile.first_column;
  tile.steps = product.steps;
  if (!product.over_rows) {
    tile.rows = find_row_tile(product.blocks, product.experts, kTileRows, index);
    tile.row_count = tile.rows.block_rows - tile.rows.begin;
    return tile;
  }
  std::int64_t const down = (product.rows + kTileRows - 1) / kTileRows;
  int const expert = static_cast<int>(index / down);
  RowBlock const block = product.blocks[expert];
  tile.rows = {expert, block.first_row, block.rows, index % down * kTileRows};
  tile.row_count = product.rows - tile.rows.begin;
  tile.steps = block.rows;
  return tile;
}

/// Blocks of threads for all tiles.
inline unsigned product_blocks(ChainProduct const& product, std::int64_t tile_rows, std::int64_t tile_columns) {
  std::int64_t const across = (product.columns + tile_columns - 1) / tile_columns;
  std::int64_t const down = product.over_rows ? (product.rows + tile_rows - 1) / tile_rows * product.experts
                                              : tiles_at_most(product.total_rows, product.experts, tile_rows);
  return static_cast<unsigned>(across * down);
}

__device__ inline OutputTile output_of(ChainProduct const& product, RowTile const& rows) {
  return {product.out, rows.expert, product.out.expert_stride == 0 ? rows.first_row : 0, product.columns};
}

}  // namespace switchyard::cuda
