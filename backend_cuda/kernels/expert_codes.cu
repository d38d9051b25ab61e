// SPDX-License-Identifier: Apache-2.0
// Products of the exact expert engine on codes: dequantised into the same chains, or int8 sums per group of scales.
#include "chain_kernel.cuh"

namespace switchyard::cuda {

namespace {

constexpr int kSide = 64;        // rows and columns of an int8 tile
constexpr int kThreads = 256;    // 4 x 4 results each
constexpr int kPanelWords = 16;  // 64 steps, four to a word

/// Steps that share a segment of the tree, a scale of the rows and a scale of the weights end here.
__device__ std::int64_t group_end(CodedMatrix const& matrix, std::int64_t step) {
  return (step / matrix.group_columns + 1) * matrix.group_columns;
}

__device__ float scale_of(CodedMatrix const& matrix, std::int64_t row, std::int64_t step) {
  return scale_at(matrix, row / matrix.group_rows * matrix.column_groups + step / matrix.group_columns);
}

/// Four codes from `step` on; those that do not exist are 0 and leave a sum alone.
__device__ unsigned word_of(CodedMatrix const& matrix, std::int64_t row, std::int64_t step, std::int64_t end) {
  unsigned word = 0;
  for (int i = 0; i < 4; ++i)
    if (step + i < end) word |= static_cast<unsigned>(matrix.codes[row * matrix.code_row_bytes + step + i]) << (8 * i);
  return word;
}

using CodePanel = unsigned[kPanelWords][kSide + 1];

/// One side of a tile of int8 codes.
struct CodeSide {
  CodedMatrix const& matrix;
  std::int64_t first;  ///< row of the matrix that is line 0
  std::int64_t lines;

  __device__ void load(CodePanel& panel, std::int64_t begin, std::int64_t end) const {
    for (unsigned i = threadIdx.x; i < kSide * kPanelWords; i += blockDim.x) {
      unsigned const line = i / kPanelWords;
      unsigned const word = i % kPanelWords;
      panel[word][line] = line < lines ? word_of(matrix, first + line, begin + word * 4, end) : 0;
    }
  }
};

/// Adds the codes of steps [begin, end), which share their scales, as one fused operation per element.
__device__ void add_group(CodeSide const& left, CodeSide const& right, std::int64_t begin, std::int64_t end,
                          CodePanel& left_panel, CodePanel& right_panel, float (&chains)[4][4]) {
  unsigned const row = threadIdx.x / 16;
  unsigned const column = threadIdx.x % 16;
  int sums[4][4] = {};
  for (std::int64_t step = begin; step < end; step += kPanelWords * 4) {
    __syncthreads();
    left.load(left_panel, step, end);
    right.load(right_panel, step, end);
    __syncthreads();
    for (int word = 0; word < kPanelWords; ++word)
#pragma unroll
      for (unsigned i = 0; i < 4; ++i)
#pragma unroll
        for (unsigned j = 0; j < 4; ++j)
          sums[i][j] = __dp4a(static_cast<int>(left_panel[word][row + 16 * i]),
                              static_cast<int>(right_panel[word][column + 16 * j]), sums[i][j]);
  }
#pragma unroll
  for (unsigned i = 0; i < 4; ++i)
#pragma unroll
    for (unsigned j = 0; j < 4; ++j) {
      if (row + 16 * i >= left.lines || column + 16 * j >= right.lines) continue;
      float const scale = hd::mul_rn(scale_of(left.matrix, left.first + row + 16 * i, begin),
                                     scale_of(right.matrix, right.first + column + 16 * j, begin));
      chains[i][j] = hd::fma_rn(static_cast<float>(sums[i][j]), scale, chains[i][j]);
    }
}

__global__ void int8_kernel(__grid_constant__ ChainProduct const product) {
  __shared__ CodePanel left_panel;
  __shared__ CodePanel right_panel;
  ProductTile const tile = find_product_tile<kSide, kSide>(product);
  if (tile.rows.expert < 0) return;
  CodeSide const left{product.left.row_codes, tile.rows.first_row + tile.rows.begin, tile.row_count};
  CodeSide const right{product.right.expert_codes[tile.rows.expert], tile.first_column, tile.column_count};
  float chains[4][4];
  WaitingSums<4, 4> waiting;
  std::int64_t begin = 0;
  for (int segment = 0; segment < product.segments; ++segment) {
    for (auto& row : chains)
      for (float& chain : row) chain = 0.0f;
    std::int64_t const stop = product.segments == 1 ? tile.steps : product.segment_ends[segment];
    while (begin < stop) {
      std::int64_t const of_rows = group_end(left.matrix, begin);
      std::int64_t const of_weights = group_end(right.matrix, begin);
      std::int64_t const group = of_rows < of_weights ? of_rows : of_weights;
      std::int64_t const end = group < stop ? group : stop;
      add_group(left, right, begin, end, left_panel, right_panel, chains);
      begin = end;
    }
    if (product.segments > 1) waiting.fold(segment, chains);
  }
  OutputTile const out = output_of(product, tile.rows);
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned j = 0; j < 4; ++j) {
      std::int64_t const row = threadIdx.x / 16 + 16 * i;
      std::int64_t const column = threadIdx.x % 16 + 16 * j;
      if (row < tile.row_count && column < tile.column_count)
        out.store(tile.rows.begin + row, tile.first_column + column, chains[i][j]);
    }
}

}  // namespace

void launch_coded_product(ChainProduct const& product, StreamView stream) {
  launch_chains<ChainLines::both_along, true>(product, stream);
}

void launch_int8_product(ChainProduct const& product, StreamView stream) {
  unsigned const blocks = product_blocks(product, kSide, kSide);
  if (blocks == 0) return;
  int8_kernel<<<blocks, kThreads, 0, stream.handle()>>>(product);
  check_launch("int8_kernel");
}

}  // namespace switchyard::cuda
