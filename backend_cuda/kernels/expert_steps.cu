// SPDX-License-Identifier: Apache-2.0
// Between the products of the exact expert engine: activations and their gradients, weighted rows, sums over rows and
// the join of TP partials. A block of threads takes some rows of one expert.
#include "activation_switch.cuh"
#include "chain_finish.cuh"
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "grid_stride.cuh"
#include "switchyard/cuda/experts.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/hd/tree_sum.hpp"

namespace switchyard::cuda {

namespace {

constexpr std::int64_t kRowsPerBlock = 8;

unsigned step_blocks(std::int64_t total_rows, int experts) {
  return static_cast<unsigned>(tiles_at_most(total_rows, experts, kRowsPerBlock));
}

/// Calls body(row, column, expert) for the elements of this block's rows.
template <typename Body>
__device__ void for_elements(RowBlock const* blocks, int experts, std::int64_t columns, Body const& body) {
  RowTile const tile = find_row_tile(blocks, experts, kRowsPerBlock, blockIdx.x);
  if (tile.expert < 0) return;
  std::int64_t const left = tile.block_rows - tile.begin;
  std::int64_t const rows = left < kRowsPerBlock ? left : kRowsPerBlock;
  for (std::int64_t i = threadIdx.x; i < rows * columns; i += blockDim.x)
    body(tile.first_row + tile.begin + i / columns, i % columns, tile.expert);
}

template <typename T>
__global__ void weigh_blocks_kernel(WeighJob job) {
  for_elements(job.blocks, job.experts, job.columns, [&](std::int64_t row, std::int64_t column, int) {
    std::int64_t const index = row * job.columns + column;
    float const value = hd::widen(static_cast<T const*>(job.rows)[index]);
    static_cast<T*>(job.out)[index] = hd::narrow<T>(hd::mul_rn(value, job.weights[row]));
  });
}

__global__ void column_sums_kernel(ColumnSumJob job) {
  std::int64_t const column = first_item();
  if (column >= job.columns) return;
  RowBlock const block = job.blocks[blockIdx.y];
  float sum = 0.0f;
  for (std::int64_t i = 0; i < block.rows; ++i) {
    std::int64_t const position = block.first_row + i;
    std::int64_t const row = job.map == nullptr ? position : job.map[position];
    sum = hd::add_rn(sum, widen_at(job.rows, job.dtype, row * job.columns + column));
  }
  std::int64_t const place = job.order == nullptr ? column : job.order[column];
  job.sums[blockIdx.y * job.columns + place] = hd::canonical(sum);
}

template <typename T>
__global__ void join_kernel(JoinJob job) {
  for_elements(job.blocks, job.experts, job.columns, [&](std::int64_t row, std::int64_t column, int expert) {
    std::int64_t const index = row * job.columns + column;
    float terms[kIntermediateBlocks];
#pragma unroll
    for (int i = 0; i < kIntermediateBlocks; ++i)
      if (i < job.partials) terms[i] = job.partial[i][index];
    hd::tree_sum_in_place(terms, 1, job.partials, 1);
    float value = terms[0];
    if (job.bias != nullptr)
      value = hd::add_rn(value, widen_at(job.bias, job.bias_dtype, expert * job.columns + column));
    static_cast<T*>(job.out)[index] = hd::narrow<T>(value);
  });
}

/// One warp per row.
template <typename T>
__global__ void weight_gradient_kernel(WeightGradientJob job) {
  std::int64_t const lane = threadIdx.x % hd::kSumLanes;
  for (std::int64_t row = first_item() / hd::kSumLanes; row < job.count; row += item_stride() / hd::kSumLanes) {
    T const* const x = static_cast<T const*>(job.rows) + row * job.columns;
    T const* const d = static_cast<T const*>(job.d_input) + row * job.columns;
    T* const out = static_cast<T*>(job.d_rows) + row * job.columns;
    float sum = 0.0f;
    for (std::int64_t c = lane; c < job.columns; c += hd::kSumLanes) {
      float const gradient = hd::widen(d[c]);
      sum = hd::add_rn(sum, hd::mul_rn(hd::widen(x[c]), gradient));
      out[c] = hd::narrow<T>(hd::mul_rn(gradient, job.weights[row]));
    }
    for (int distance = hd::kSumLanes / 2; distance > 0; distance /= 2)
      sum = hd::add_rn(sum, __shfl_xor_sync(0xffffffffu, sum, distance));
    if (lane == 0) job.d_weights[row] = hd::canonical(sum);
  }
}

/// One warp. Counts that no plan can have, as after an error, are cut to what max_rows leaves.
__global__ void expert_blocks_kernel(std::int64_t const* rows_per_expert, int experts, std::int64_t max_rows,
                                     RowBlock* blocks) {
  int const lane = static_cast<int>(threadIdx.x);
  std::int64_t before = 0;
  for (int first = 0; first < experts; first += 32) {
    int const expert = first + lane;
    std::int64_t const told = expert < experts ? rows_per_expert[expert] : 0;
    std::int64_t const rows = told < 0 ? 0 : told < max_rows ? told : max_rows;
    std::int64_t const through = before + through_lane(lane, rows);
    std::int64_t const begin = through - rows < max_rows ? through - rows : max_rows;
    std::int64_t const end = through < max_rows ? through : max_rows;
    if (expert < experts) blocks[expert] = {begin, end - begin};
    before = __shfl_sync(0xffffffffu, through, 31);
  }
}

/// Columns of hidden values, in the order of w1's rows, that belong to a unit.
struct UnitColumns {
  std::int64_t gate;
  std::int64_t up;
  __device__ UnitColumns(GateLayout layout, std::int64_t units, std::int64_t unit) {
    gate = layout == GateLayout::interleaved ? 2 * unit : unit;
    up = layout == GateLayout::interleaved ? 2 * unit + 1 : layout == GateLayout::split ? units + unit : unit;
  }
};

template <Activation kKind>
__global__ void activation_kernel(ActivationJob job) {
  bool const gated = job.spec.layout != GateLayout::plain;
  for_elements(job.blocks, job.experts, job.units, [&](std::int64_t row, std::int64_t unit, int) {
    UnitColumns const at(job.spec.layout, job.units, unit);
    float const* const hidden = job.hidden + row * job.units * (gated ? 2 : 1);
    float value = hd::activate<kKind>(hidden[at.gate], job.spec.limit);
    if (gated) value = hd::mul_rn(rounded(value, job.rounding.gate), hd::up_term<kKind>(hidden[at.up], job.spec.limit));
    job.activation[row * job.units + unit] = rounded(value, job.rounding.activation);
  });
}

template <Activation kKind>
__global__ void activation_gradient_kernel(ActivationJob job) {
  bool const gated = job.spec.layout != GateLayout::plain;
  for_elements(job.blocks, job.experts, job.units, [&](std::int64_t row, std::int64_t unit, int) {
    UnitColumns const at(job.spec.layout, job.units, unit);
    std::int64_t const first = row * job.units * (gated ? 2 : 1);
    float const gate = job.hidden[first + at.gate];
    float const d_output = job.d_output[row * job.units + unit];
    float d_gate = d_output;
    if (gated) {
      float const up = job.hidden[first + at.up];
      float const activated = rounded(hd::activate<kKind>(gate, job.spec.limit), job.rounding.gate);
      float const d_up = hd::mul_rn(hd::mul_rn(d_output, activated), hd::up_slope<kKind>(up, job.spec.limit));
      job.d_hidden[first + job.place[at.up]] = hd::canonical(d_up);
      d_gate = hd::mul_rn(d_output, hd::up_term<kKind>(up, job.spec.limit));
    }
    job.d_hidden[first + job.place[at.gate]] =
        hd::canonical(hd::mul_rn(d_gate, hd::activation_slope<kKind>(gate, job.spec.limit)));
  });
}

}  // namespace

void launch_expert_blocks(std::int64_t const* rows_per_expert, int experts, std::int64_t max_rows, RowBlock* blocks,
                          StreamView stream) {
  if (experts == 0) return;
  expert_blocks_kernel<<<1, 32, 0, stream.handle()>>>(rows_per_expert, experts, max_rows, blocks);
  check_launch("expert_blocks_kernel");
}

void launch_activation(ActivationJob const& job, StreamView stream) {
  unsigned const blocks = step_blocks(job.total_rows, job.experts);
  if (blocks == 0 || job.units == 0) return;
  by_activation(job.spec.kind,
                [&](auto kind) { activation_kernel<kind.value><<<blocks, kBlockThreads, 0, stream.handle()>>>(job); });
  check_launch("activation_kernel");
}

void launch_activation_gradient(ActivationJob const& job, StreamView stream) {
  unsigned const blocks = step_blocks(job.total_rows, job.experts);
  if (blocks == 0 || job.units == 0) return;
  by_activation(job.spec.kind, [&](auto kind) {
    activation_gradient_kernel<kind.value><<<blocks, kBlockThreads, 0, stream.handle()>>>(job);
  });
  check_launch("activation_gradient_kernel");
}

void launch_weigh_blocks(WeighJob const& job, StreamView stream) {
  unsigned const blocks = step_blocks(job.total_rows, job.experts);
  if (blocks == 0) return;
  by_row_dtype(job.dtype, [&](auto row) {
    weigh_blocks_kernel<decltype(row)><<<blocks, kBlockThreads, 0, stream.handle()>>>(job);
  });
  check_launch("weigh_blocks_kernel");
}

void launch_column_sums(ColumnSumJob const& job, StreamView stream) {
  if (job.experts == 0 || job.columns == 0) return;
  dim3 const grid(grid_blocks(job.columns), static_cast<unsigned>(job.experts));
  column_sums_kernel<<<grid, kBlockThreads, 0, stream.handle()>>>(job);
  check_launch("column_sums_kernel");
}

void launch_join(JoinJob const& job, StreamView stream) {
  unsigned const blocks = step_blocks(job.total_rows, job.experts);
  if (blocks == 0) return;
  by_row_dtype(job.dtype,
               [&](auto row) { join_kernel<decltype(row)><<<blocks, kBlockThreads, 0, stream.handle()>>>(job); });
  check_launch("join_kernel");
}

void launch_weight_gradient(WeightGradientJob const& job, StreamView stream) {
  if (job.count <= 0) return;
  by_row_dtype(job.dtype, [&](auto row) {
    weight_gradient_kernel<decltype(row)>
        <<<grid_blocks(job.count * hd::kSumLanes), kBlockThreads, 0, stream.handle()>>>(job);
  });
  check_launch("weight_gradient_kernel");
}

}  // namespace switchyard::cuda
