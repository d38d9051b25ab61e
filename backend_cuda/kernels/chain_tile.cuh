// SPDX-License-Identifier: Apache-2.0
/// A tile of 128 x 128 results as fused chains: operands pass through shared memory sixteen steps at a time, every
/// thread owns 8 x 8 accumulators, each one chain in ascending order of steps.
#pragma once

#include <cstdint>

#include "coded_matrix.cuh"
#include "expert_kernels.hpp"
#include "switchyard/hd/convert.hpp"
#include "widen_at.cuh"

namespace switchyard::cuda {

inline constexpr int kTile = 128;
inline constexpr int kSteps = 16;
inline constexpr int kTileThreads = 256;
/// Bank conflicts of transposed stores are avoided by a swizzle of 16 between the halves of kSteps.
inline constexpr int kTileStride = kTile + 4;

using TilePanel = float[kSteps][kTileStride];

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

/// What one thread carries from memory to a panel: eight steps of one line, or eight lines of one step.
template <bool kAlong, bool kCoded>
struct PanelPart {
  LoadedRun run;

  /// @param begin first step of the panel @param end steps that exist; the panel's others become +0
  __device__ void load(TileSide const& side, std::int64_t begin, std::int64_t end) {
    if constexpr (kAlong) {
      std::int64_t const line = threadIdx.x / 2;
      std::int64_t const step = begin + threadIdx.x % 2 * 8;
      std::int64_t const count = line < side.lines ? end - step : 0;
      if constexpr (kCoded) {
        if (side.operand->coded()) return load_codes(side, side.first + line, step, count);
      }
      run.load(*side.operand, count > 0 ? line_start(side, side.first + line) + step : 0, count);
    } else {
      std::int64_t const step = begin + threadIdx.x / 16;
      std::int64_t const line = threadIdx.x % 16 * 8;
      std::int64_t const count = step < end ? side.lines - line : 0;
      run.load(*side.operand, count > 0 ? line_start(side, step) + side.first + line : 0, count);
    }
  }

  __device__ void load_codes(TileSide const& side, std::int64_t line, std::int64_t step, std::int64_t count) {
    ChainOperand const& operand = *side.operand;
    CodedMatrix const& matrix = operand.expert_codes != nullptr ? operand.expert_codes[side.expert] : operand.row_codes;
    std::int64_t const row = side.first_row + line;
    run.halves = false;
#pragma unroll 1
    for (int i = 0; i < 8; ++i) run.word[i] = i < count ? __float_as_uint(value_at(matrix, row, step + i)) : 0u;
  }

  __device__ void store(TilePanel& panel) const {
    float values[8];
    run.widen(values);
    if constexpr (kAlong) {
      unsigned const line = threadIdx.x / 2;
      unsigned const half = threadIdx.x % 2;
#pragma unroll
      for (unsigned i = 0; i < 8; ++i) panel[half * 8 + i][line ^ (half * 16)] = values[i];
    } else {
      unsigned const step = threadIdx.x / 16;
      unsigned const line = (threadIdx.x % 16 * 8) ^ (step / 8 * 16);
      *reinterpret_cast<float4*>(&panel[step][line]) = make_float4(values[0], values[1], values[2], values[3]);
      *reinterpret_cast<float4*>(&panel[step][line + 4]) = make_float4(values[4], values[5], values[6], values[7]);
    }
  }
};

/// Rows and columns of the tile that a thread owns: 4 + 4 each, 32 or 16 apart.
struct ThreadPlace {
  unsigned row;
  unsigned column;
  __device__ ThreadPlace() {
    unsigned const warp = threadIdx.x / 32;
    unsigned const lane = threadIdx.x % 32;
    row = warp / 4 * 64 + lane / 4 * 4;
    column = warp % 4 * 32 + lane % 4 * 4;
  }
  __device__ unsigned row_of(int i) const { return row + static_cast<unsigned>(i % 4 + i / 4 * 32); }
  __device__ unsigned column_of(int i) const { return column + static_cast<unsigned>(i % 4 + i / 4 * 16); }
};

__device__ inline void load_four(TilePanel const& panel, int step, unsigned line, float* out) {
  float4 const four = *reinterpret_cast<float4 const*>(&panel[step][line ^ static_cast<unsigned>(step / 8 * 16)]);
  out[0] = four.x, out[1] = four.y, out[2] = four.z, out[3] = four.w;
}

/// Sixteen steps of all chains. Steps that do not exist must not be added: fma(0, 0, -0) would be +0.
template <bool kWhole>
__device__ inline void add_steps(TilePanel const& left, TilePanel const& right, int steps, ThreadPlace const& place,
                                 float (&sums)[8][8]) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    if (!kWhole && step >= steps) return;
    float a[8];
    float b[8];
    load_four(left, step, place.row, a);
    load_four(left, step, place.row + 32, a + 4);
    load_four(right, step, place.column, b);
    load_four(right, step, place.column + 16, b + 4);
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[i][j] = hd::fma_rn(a[i], b[j], sums[i][j]);
  }
}

}  // namespace switchyard::cuda
