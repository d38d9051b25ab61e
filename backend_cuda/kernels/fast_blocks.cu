// SPDX-License-Identifier: Apache-2.0
// Around the products of the fast expert engine, block by block: scales in cuBLAS's layouts, biases and roundings that
// its epilogues do not offer, and gradients of biases.
#include <algorithm>

#include "chain_finish.cuh"
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "fast_kernels.hpp"
#include "grid_stride.cuh"
#include "widen_at.cuh"

namespace switchyard::cuda {

namespace {

constexpr int kThreads = 128;

/// Up to kMost blocks as a kernel's argument, each with the block that stands for it elsewhere.
struct BlockPairs {
  static constexpr int kMost = 64;
  RowBlock from[kMost];
  RowBlock to[kMost];
  int first = 0;  ///< index of the first of them
};

/// Calls launch(how many, pairs, rows of the longest `to`) for all blocks.
template <typename Launch>
void for_pairs(std::span<RowBlock const> from, std::span<RowBlock const> to, Launch const& launch) {
  for (std::size_t begin = 0; begin < from.size(); begin += BlockPairs::kMost) {
    std::size_t const count = std::min<std::size_t>(from.size() - begin, BlockPairs::kMost);
    BlockPairs pairs{};
    pairs.first = static_cast<int>(begin);
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      pairs.from[i] = from[begin + i];
      pairs.to[i] = to[begin + i];
      longest = std::max(longest, to[begin + i].rows);
    }
    launch(static_cast<unsigned>(count), pairs, longest);
  }
}

unsigned blocks_for(std::int64_t items) {
  constexpr std::int64_t kMostBlocks = 1 << 16;
  return static_cast<unsigned>(std::clamp<std::int64_t>((items + kThreads - 1) / kThreads, 1, kMostBlocks));
}

__global__ void pack_row_scales_kernel(__grid_constant__ BlockPairs const pairs,
                                       __grid_constant__ RowScaleJob const job) {
  RowBlock const from = pairs.from[blockIdx.y];
  RowBlock const to = pairs.to[blockIdx.y];
  float* const packed = job.to + to.first_row * job.groups;
  for (std::int64_t row = first_item(); row < to.rows; row += item_stride())
    for (std::int64_t group = 0; group < job.groups; ++group)
      packed[group * to.rows + row] = row < from.rows ? job.from[(from.first_row + row) * job.groups + group] : 0.0f;
}

/// Matrices as a kernel's argument.
struct MatrixList {
  static constexpr int kMost = 256;
  float const* matrix[kMost];
};

__global__ void spread_scale_lines_kernel(__grid_constant__ MatrixList const list,
                                          __grid_constant__ ScaleLinesJob const job) {
  float const* const from = list.matrix[blockIdx.y];
  float* const to = job.to + blockIdx.y * job.lines * job.stride;
  for (std::int64_t i = first_item(); i < job.lines * job.stride; i += item_stride()) {
    std::int64_t const column = i % job.stride;
    to[i] = column < job.columns ? from[i / job.stride * job.columns + column] : 0.0f;
  }
}

template <typename T>
__global__ void fast_finish_kernel(__grid_constant__ BlockPairs const pairs,
                                   __grid_constant__ FastFinishJob const job) {
  RowBlock const to = pairs.to[blockIdx.y];
  std::int64_t const first = pairs.from[blockIdx.y].first_row;
  std::int64_t const bias_first = (pairs.first + blockIdx.y) * job.columns;
  for (std::int64_t row = blockIdx.x; row < to.rows; row += gridDim.x)
    for (std::int64_t column = threadIdx.x; column < job.columns; column += blockDim.x) {
      float value = widen_at(job.sums, job.sums_dtype, (first + row) * job.columns + column);
      if (job.bias != nullptr) value = hd::add_rn(value, widen_at(job.bias, job.bias_dtype, bias_first + column));
      static_cast<T*>(job.out)[(to.first_row + row) * job.columns + column] = hd::narrow<T>(value);
    }
}

/// A block of threads has kSumColumns neighbouring columns; its lane of a column adds every kSumLanes-th row.
constexpr int kSumColumns = 32;
constexpr int kSumLanes = 16;

template <typename T>
__global__ void fast_column_sums_kernel(__grid_constant__ BlockPairs const pairs,
                                        __grid_constant__ FastColumnSums const job) {
  __shared__ float partial[kSumLanes][kSumColumns];
  RowBlock const block = pairs.from[blockIdx.y];
  std::int64_t const column = static_cast<std::int64_t>(blockIdx.x) * kSumColumns + threadIdx.x;
  float sum = 0.0f;
  if (column < job.columns)
    for (std::int64_t row = threadIdx.y; row < block.rows; row += kSumLanes)
      sum = hd::add_rn(sum, hd::widen(static_cast<T const*>(job.rows)[(block.first_row + row) * job.columns + column]));
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= job.columns) return;
  for (int lane = 1; lane < kSumLanes; ++lane) sum = hd::add_rn(sum, partial[lane][threadIdx.x]);
  job.sums[(pairs.first + blockIdx.y) * job.columns + column] = sum;
}

}  // namespace

void launch_pack_row_scales(std::span<RowBlock const> blocks, std::span<RowBlock const> padded, RowScaleJob const& job,
                            StreamView stream) {
  for_pairs(blocks, padded, [&](unsigned count, BlockPairs const& pairs, std::int64_t longest) {
    if (longest == 0) return;
    pack_row_scales_kernel<<<dim3(blocks_for(longest), count), kThreads, 0, stream.handle()>>>(pairs, job);
    check_launch("pack_row_scales_kernel");
  });
}

void launch_spread_scale_lines(std::span<float const* const> from, ScaleLinesJob const& job, StreamView stream) {
  std::int64_t const size = job.lines * job.stride;
  if (size == 0) return;
  for (std::size_t begin = 0; begin < from.size(); begin += MatrixList::kMost) {
    std::size_t const count = std::min<std::size_t>(from.size() - begin, MatrixList::kMost);
    MatrixList list{};
    std::copy_n(from.data() + begin, count, list.matrix);
    ScaleLinesJob some = job;
    some.to += static_cast<std::int64_t>(begin) * size;
    dim3 const grid(blocks_for(size), static_cast<unsigned>(count));
    spread_scale_lines_kernel<<<grid, kThreads, 0, stream.handle()>>>(list, some);
    check_launch("spread_scale_lines_kernel");
  }
}

void launch_fast_finish(std::span<RowBlock const> from, std::span<RowBlock const> to, FastFinishJob const& job,
                        StreamView stream) {
  constexpr std::int64_t kMostRows = 1 << 16;
  if (job.columns == 0) return;
  for_pairs(from, to, [&](unsigned count, BlockPairs const& pairs, std::int64_t longest) {
    if (longest == 0) return;
    dim3 const grid(static_cast<unsigned>(std::min(longest, kMostRows)), count);
    by_row_dtype(job.dtype, [&](auto row) {
      fast_finish_kernel<decltype(row)><<<grid, kThreads, 0, stream.handle()>>>(pairs, job);
    });
    check_launch("fast_finish_kernel");
  });
}

void launch_fast_column_sums(std::span<RowBlock const> blocks, FastColumnSums const& job, StreamView stream) {
  if (job.columns == 0) return;
  for_pairs(blocks, blocks, [&](unsigned count, BlockPairs const& pairs, std::int64_t) {
    dim3 const grid(static_cast<unsigned>((job.columns + kSumColumns - 1) / kSumColumns), count);
    by_row_dtype(job.dtype, [&](auto row) {
      fast_column_sums_kernel<decltype(row)><<<grid, dim3(kSumColumns, kSumLanes), 0, stream.handle()>>>(pairs, job);
    });
    check_launch("fast_column_sums_kernel");
  });
}

}  // namespace switchyard::cuda
