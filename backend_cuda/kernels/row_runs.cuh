// SPDX-License-Identifier: Apache-2.0
/// RowRuns: the rows of all experts as few stretches that a kernel takes as an argument, and packs of elements in them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// Stretch blockIdx.y belongs to a block of threads; its rows are shared by all blocks of the same y.
struct RowRuns {
  static constexpr int kMost = 64;
  RowBlock run[kMost];
};

/// Blocks that follow each other are one stretch; those without rows are none.
inline std::vector<RowBlock> joined_blocks(std::span<RowBlock const> blocks) {
  std::vector<RowBlock> runs;
  for (RowBlock const& block : blocks) {
    if (block.rows == 0) continue;
    if (!runs.empty() && runs.back().first_row + runs.back().rows == block.first_row) {
      runs.back().rows += block.rows;
    } else {
      runs.push_back(block);
    }
  }
  return runs;
}

/// Calls launch(grid, runs) for up to kMost stretches at a time.
template <typename Launch>
void for_runs(std::span<RowBlock const> blocks, Launch const& launch) {
  constexpr std::int64_t kMostRows = 1 << 16;  // blocks of threads for one stretch; more rows than that take turns
  std::vector<RowBlock> const runs = joined_blocks(blocks);
  for (std::size_t first = 0; first < runs.size(); first += RowRuns::kMost) {
    std::size_t const count = std::min<std::size_t>(runs.size() - first, RowRuns::kMost);
    RowRuns some{};
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < count; ++i) {
      some.run[i] = runs[first + i];
      rows = std::max(rows, some.run[i].rows);
    }
    launch(dim3(static_cast<unsigned>(std::min(rows, kMostRows)), static_cast<unsigned>(count)), some);
  }
}

/// Calls body(row, first column) for packs of kPack columns of this block's rows.
template <int kPack, typename Body>
__device__ void for_row_packs(RowRuns const& runs, std::int64_t columns, Body const& body) {
  RowBlock const run = runs.run[blockIdx.y];
  for (std::int64_t row = blockIdx.x; row < run.rows; row += gridDim.x)
    for (std::int64_t column = static_cast<std::int64_t>(threadIdx.x) * kPack; column < columns;
         column += static_cast<std::int64_t>(blockDim.x) * kPack)
      body(run.first_row + row, column);
}

/// kPack neighbouring elements, moved sixteen bytes at a time.
template <typename T, int kPack>
struct alignas(kPack == 1 ? alignof(T) : 16) ElementPack {
  T element[kPack];

  __device__ static ElementPack at(void const* base, std::int64_t index) {
    return *reinterpret_cast<ElementPack const*>(static_cast<T const*>(base) + index);
  }
  __device__ void put(void* base, std::int64_t index) const {
    *reinterpret_cast<ElementPack*>(static_cast<T*>(base) + index) = *this;
  }
};

}  // namespace switchyard::cuda
