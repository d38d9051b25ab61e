// SPDX-License-Identifier: Apache-2.0
/// A tile of results as fused chains: operands pass through shared memory a few steps at a time, every thread owns 8 x
/// 8 accumulators, each one chain in ascending order of steps. Which tile an element belongs to does not touch its
/// chain.
#pragma once

#include <cstdint>

#include "coded_matrix.cuh"
#include "expert_kernels.hpp"
#include "switchyard/hd/convert.hpp"
#include "widen_at.cuh"

namespace switchyard::cuda {

/// @tparam kStepCount steps per panel, 8 or 16 @tparam kDownLanes lanes of a warp that stand below each other
template <int kRowCount, int kColumnCount, int kStepCount, int kDownLanes>
struct TileForm {
  static constexpr int kRows = kRowCount;
  static constexpr int kColumns = kColumnCount;
  static constexpr int kSteps = kStepCount;
  static constexpr int kThreads = kRows * kColumns / 64;
  static constexpr int kDown = kDownLanes;
  static constexpr int kAcross = 32 / kDownLanes;
  static constexpr int kBlocksPerMultiprocessor = 512 / kThreads;  // 128 registers of each thread
};
using WideTile = TileForm<128, 128, 16, 8>;
/// For experts with few rows. Sixteen steps would take more registers than a thread has: it carries a larger share of
/// the panels than in a wide tile.
using FlatTile = TileForm<32, 256, 8, 4>;

/// Rows are padded by four floats: float4 stay aligned, and lines of neighbouring steps lie in different banks.
template <int kSteps, int kLines>
struct TilePanel {
  float value[kSteps][kLines + 4];

  /// Bank conflicts of transposed stores are avoided by a swizzle of 16 between the halves of 16 steps.
  __device__ static unsigned place(unsigned step, unsigned line) { return line ^ (step / 8 * 16); }
};

/// One side of a tile: where its lines begin, and how many there are.
struct TileSide {
  ChainOperand const* operand;
  std::int64_t lines;      ///< lines of the tile's first to last element that exist, from `first`
  std::int64_t first;      ///< of the tile among the expert's lines
  std::int64_t first_row;  ///< flattened row of the expert's block; 0 for a matrix of its own
  std::int64_t base;       ///< element at which the expert's matrix begins
  int expert;
};

template <typename T>
__device__ inline bool is_aligned(T const* from) {
  return reinterpret_cast<std::uintptr_t>(from) % sizeof(uint4) == 0;
}

/// Eight neighbouring elements between memory and a panel. What arrives is not touched until it is stored, so that
/// chains run while loads are under way: bf16 stays as it lies, two to a word.
struct LoadedRun {
  std::uint32_t word[8];
  bool halves;

  /// Elements behind the first `count` become +0.
  __device__ void load(ChainOperand const& operand, std::int64_t index, std::int64_t count) {
    auto const* const floats = static_cast<float const*>(operand.data) + index;
    auto const* const bf16s = static_cast<bf16_t const*>(operand.data) + index;
    halves = false;
    if (count >= 8 && operand.dtype == DType::f32 && is_aligned(floats)) {
      put(__ldg(reinterpret_cast<uint4 const*>(floats)), 0);
      put(__ldg(reinterpret_cast<uint4 const*>(floats) + 1), 4);
    } else if (count >= 8 && operand.dtype == DType::bf16 && is_aligned(bf16s)) {
      put(__ldg(reinterpret_cast<uint4 const*>(bf16s)), 0);
      halves = true;
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i)
        word[i] = i < count ? __float_as_uint(widen_at(operand.data, operand.dtype, index + i)) : 0u;
    }
  }
  __device__ void widen(float (&out)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      auto const half = static_cast<std::uint16_t>(word[i / 2] >> (i % 2 * 16));
      out[i] = halves ? hd::widen(bf16_t{half}) : __uint_as_float(word[i]);
    }
  }

 private:
  __device__ void put(uint4 const& four, int at) {
    word[at] = four.x;
    word[at + 1] = four.y;
    word[at + 2] = four.z;
    word[at + 3] = four.w;
  }
};

/// The element at which line `line` of the side begins. @param line counts from the expert's first
__device__ inline std::int64_t line_start(TileSide const& side, std::int64_t line) {
  ChainOperand const& operand = *side.operand;
  std::int64_t const position = side.first_row + line;
  return side.base + (operand.map == nullptr ? position : operand.map[position]) * operand.stride;
}

/// What one thread carries from memory to a panel: some runs of eight steps of one line, or of eight lines of one step.
template <bool kAlong, bool kCoded, int kSteps, int kLines, int kThreads>
struct PanelPart {
  static constexpr unsigned kRuns = kSteps * kLines / 8;
  static constexpr int kRunsPerThread = (kRuns + kThreads - 1) / kThreads;
  static constexpr bool kWhole = kRuns % kThreads == 0;
  LoadedRun run[kRunsPerThread];

  __device__ static unsigned number(int i) { return threadIdx.x + static_cast<unsigned>(i) * kThreads; }
  /// Where run `number` begins in a panel.
  __device__ static unsigned line_of(unsigned number) {
    return kAlong ? number / (kSteps / 8) : number % (kLines / 8) * 8;
  }
  __device__ static unsigned step_of(unsigned number) {
    return kAlong ? number % (kSteps / 8) * 8 : number / (kLines / 8);
  }

  /// @param begin first step of the panel @param end steps that exist; the panel's others become +0
  __device__ void load(TileSide const& side, std::int64_t begin, std::int64_t end) {
#pragma unroll
    for (int i = 0; i < kRunsPerThread; ++i)
      if (kWhole || number(i) < kRuns) load_run(run[i], side, begin + step_of(number(i)), line_of(number(i)), end);
  }
  __device__ void store(TilePanel<kSteps, kLines>& panel) const {
#pragma unroll
    for (int i = 0; i < kRunsPerThread; ++i)
      if (kWhole || number(i) < kRuns) store_run(run[i], panel, step_of(number(i)), line_of(number(i)));
  }

 private:
  __device__ static void load_run(LoadedRun& run, TileSide const& side, std::int64_t step, std::int64_t line,
                                  std::int64_t end) {
    if constexpr (kAlong) {
      std::int64_t const count = line < side.lines ? end - step : 0;
      if constexpr (kCoded) {
        if (side.operand->coded()) return load_codes(run, side, side.first + line, step, count);
      }
      run.load(*side.operand, count > 0 ? line_start(side, side.first + line) + step : 0, count);
    } else {
      std::int64_t const count = step < end ? side.lines - line : 0;
      run.load(*side.operand, count > 0 ? line_start(side, step) + side.first + line : 0, count);
    }
  }
  __device__ static void load_codes(LoadedRun& run, TileSide const& side, std::int64_t line, std::int64_t step,
                                    std::int64_t count) {
    ChainOperand const& operand = *side.operand;
    CodedMatrix const& matrix = operand.expert_codes != nullptr ? operand.expert_codes[side.expert] : operand.row_codes;
    std::int64_t const row = side.first_row + line;
    run.halves = false;
#pragma unroll 1
    for (int i = 0; i < 8; ++i) run.word[i] = i < count ? __float_as_uint(value_at(matrix, row, step + i)) : 0u;
  }
  __device__ static void store_run(LoadedRun const& run, TilePanel<kSteps, kLines>& panel, unsigned step,
                                   unsigned line) {
    float values[8];
    run.widen(values);
    unsigned const place = TilePanel<kSteps, kLines>::place(step, line);
    if constexpr (kAlong) {
#pragma unroll
      for (unsigned i = 0; i < 8; ++i) panel.value[step + i][place] = values[i];
    } else {
      *reinterpret_cast<float4*>(&panel.value[step][place]) = make_float4(values[0], values[1], values[2], values[3]);
      *reinterpret_cast<float4*>(&panel.value[step][place + 4]) =
          make_float4(values[4], values[5], values[6], values[7]);
    }
  }
};

/// Rows and columns of the tile that a thread owns: 4 + 4 each, so far apart that a warp's lanes stand between them.
template <typename Tile>
struct ThreadPlace {
  unsigned row;
  unsigned column;
  __device__ ThreadPlace() {
    constexpr unsigned kWarpsAcross = Tile::kColumns / (Tile::kAcross * 8);
    unsigned const warp = threadIdx.x / 32;
    unsigned const lane = threadIdx.x % 32;
    row = warp / kWarpsAcross * (Tile::kDown * 8) + lane / Tile::kAcross * 4;
    column = warp % kWarpsAcross * (Tile::kAcross * 8) + lane % Tile::kAcross * 4;
  }
  __device__ unsigned row_of(int i) const { return row + static_cast<unsigned>(i % 4 + i / 4 * Tile::kDown * 4); }
  __device__ unsigned column_of(int i) const {
    return column + static_cast<unsigned>(i % 4 + i / 4 * Tile::kAcross * 4);
  }
};

template <int kSteps, int kLines>
__device__ inline void load_four(TilePanel<kSteps, kLines> const& panel, int step, unsigned line, float* out) {
  unsigned const place = TilePanel<kSteps, kLines>::place(static_cast<unsigned>(step), line);
  float4 const four = *reinterpret_cast<float4 const*>(&panel.value[step][place]);
  out[0] = four.x, out[1] = four.y, out[2] = four.z, out[3] = four.w;
}

/// One panel's steps of all chains. Steps that do not exist must not be added: fma(0, 0, -0) would be +0.
template <bool kWhole, typename Tile>
__device__ inline void add_steps(TilePanel<Tile::kSteps, Tile::kRows> const& left,
                                 TilePanel<Tile::kSteps, Tile::kColumns> const& right, int steps,
                                 ThreadPlace<Tile> const& place, float (&sums)[8][8]) {
#pragma unroll
  for (int step = 0; step < Tile::kSteps; ++step) {
    if (!kWhole && step >= steps) return;
    float a[8];
    float b[8];
    load_four(left, step, place.row_of(0), a);
    load_four(left, step, place.row_of(4), a + 4);
    load_four(right, step, place.column_of(0), b);
    load_four(right, step, place.column_of(4), b + 4);
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[i][j] = hd::fma_rn(a[i], b[j], sums[i][j]);
  }
}

}  // namespace switchyard::cuda
