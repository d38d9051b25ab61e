// SPDX-License-Identifier: Apache-2.0
/// A tile of a planner's sort as a block of threads walks it.
#pragma once

#include <cstdint>

#include "cuda_error.hpp"
#include "planner_kernels.hpp"

namespace switchyard::cuda {

inline constexpr std::int32_t kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffU;
/// What a block of the planner may use; every architecture from sm_80 on but sm_86 and sm_89 has as much.
inline constexpr int kPlanSharedBytes = 160 * 1024;

/// Loads kernels, and allows them the shared memory.
void prepare_plan_count();
void prepare_plan_slots();

/// A kernel that is loaded when it is first launched may have to wait for one that runs.
inline void load_plan_kernel(void const* kernel) {
  cudaFuncAttributes attributes{};
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, kernel));
}

__device__ inline std::int32_t lane_of_thread() {
  return static_cast<std::int32_t>(threadIdx.x % kWarp);
}
/// @return the sum of this lane's value and those of the lanes before it. Called by whole warps.
template <typename T>
__device__ T inclusive_in_warp(T value) {
  for (std::int32_t distance = 1; distance < kWarp; distance *= 2) {
    T const lower = __shfl_up_sync(kAllLanes, value, static_cast<unsigned>(distance));
    if (lane_of_thread() >= distance) value += lower;
  }
  return value;
}

__device__ inline bool is_announced(PlanBlocks const& blocks, std::int32_t rank) {
  auto const* const header = reinterpret_cast<PlanHeader const*>(blocks.data + rank * blocks.block_bytes);
  return header->configuration == blocks.configuration;
}
__device__ inline std::int64_t tokens_of(PlanBlocks const& blocks, std::int32_t rank) {
  auto const* const header = reinterpret_cast<PlanHeader const*>(blocks.data + rank * blocks.block_bytes);
  return header->configuration == blocks.configuration ? header->tokens : 0;
}
__device__ inline std::int32_t const* slots_of(PlanBlocks const& blocks, std::int32_t rank) {
  return reinterpret_cast<std::int32_t const*>(blocks.data + rank * blocks.block_bytes + sizeof(PlanHeader));
}
__device__ inline std::int64_t const* counts_of(PlanBlocks const& blocks, std::int32_t rank) {
  return reinterpret_cast<std::int64_t const*>(blocks.data + rank * blocks.block_bytes + sizeof(PlanHeader));
}
__device__ inline std::int32_t source_of(PlanSort const& sort, std::int32_t position) {
  return sort.source_at == nullptr ? position : sort.source_at[position];
}

/// The choices of a tile, tokens and columns ascending.
struct TileChoices {
  __device__ TileChoices(PlanSort const& sort, std::int32_t tile)
      : position(tile / sort.tiles.per_source), source(source_of(sort, position)) {
    tokens = hd::tokens_of_tile(sort.tiles, tile % sort.tiles.per_source, tokens_of(sort.blocks, source));
    slots = slots_of(sort.blocks, source) + tokens.begin * sort.columns;
    count = (tokens.end - tokens.begin) * sort.columns;
  }
  /// Choice `index` of the tile; none behind its end.
  __device__ hd::PlanChoice at(PlanSort const& sort, std::int64_t index) const {
    if (index >= count) return {};
    auto const within = static_cast<std::uint32_t>(index);
    auto const columns = static_cast<std::uint32_t>(sort.columns);
    std::uint32_t const column = within % columns;
    return hd::plan_choice(sort.keys, slots + (within - column), sort.columns, static_cast<std::int32_t>(column));
  }

  std::int32_t position;
  std::int32_t source;
  hd::PlanRange tokens{};
  std::int32_t const* slots = nullptr;
  std::int64_t count = 0;
};

}  // namespace switchyard::cuda
