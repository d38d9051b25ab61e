// SPDX-License-Identifier: Apache-2.0
// The counts of the planner's sorts: every tile counts its choices per bucket in shared memory, then one warp per
// bucket turns the tiles' counts into what stands in front of each of them.
#include "cuda_error.hpp"
#include "plan_launch.cuh"
#include "plan_tile.cuh"

namespace switchyard::cuda {

namespace {

__global__ void plan_count_kernel(PlanSorts sorts) {
  let_next_kernel_come();
  PlanSort const& sort = sorts.sort[blockIdx.y];
  auto const tile = static_cast<std::int32_t>(blockIdx.x);
  std::int32_t const tiles = sort.tiles.count();
  if (tile >= tiles) return;
  extern __shared__ std::uint32_t counts[];
  for (auto line = static_cast<std::int32_t>(threadIdx.x); line < sort.lines();
       line += static_cast<std::int32_t>(blockDim.x))
    counts[line] = 0;
  __syncthreads();
  TileChoices const choices(sort, tile);
  auto const step = static_cast<std::int64_t>(blockDim.x);
  for (std::int64_t first = 0; first < choices.count; first += step) {
    hd::PlanChoice const choice = choices.at(sort, first + threadIdx.x);
    bool const is_kept = choice.key >= 0;
    if (is_kept) atomicAdd(&counts[choice.key], 1U);
    unsigned const kept = __ballot_sync(kAllLanes, is_kept);
    unsigned const leading = __ballot_sync(kAllLanes, is_kept && choice.before == 0);
    if (lane_of_thread() != 0) continue;
    if (kept != 0) atomicAdd(&counts[sort.buckets], static_cast<std::uint32_t>(__popc(kept)));
    if (leading != 0) atomicAdd(&counts[sort.buckets + 1], static_cast<std::uint32_t>(__popc(leading)));
  }
  __syncthreads();
  for (auto line = static_cast<std::int32_t>(threadIdx.x); line < sort.lines();
       line += static_cast<std::int32_t>(blockDim.x))
    sort.prefix[static_cast<std::int64_t>(line) * tiles + tile] = counts[line];
}

__global__ void plan_prefix_kernel(PlanSorts sorts) {
  await_kernel_before();
  let_next_kernel_come();
  PlanSort const& sort = sorts.sort[blockIdx.y];
  auto const line = static_cast<std::int32_t>(blockIdx.x * (blockDim.x / kWarp) + threadIdx.x / kWarp);
  if (line >= sort.lines()) return;
  std::int32_t const tiles = sort.tiles.count();
  std::uint32_t* const counts = sort.prefix + static_cast<std::int64_t>(line) * tiles;
  std::uint32_t before = 0;
  for (std::int32_t first = 0; first < tiles; first += kWarp) {
    std::int32_t const tile = first + lane_of_thread();
    std::uint32_t const own = tile < tiles ? counts[tile] : 0;
    std::uint32_t const up_to = inclusive_in_warp(own);
    if (tile < tiles) counts[tile] = before + up_to - own;
    before += __shfl_sync(kAllLanes, up_to, kWarp - 1);
  }
  if (lane_of_thread() == 0) sort.totals[line] = before;
}

__global__ void plan_announce_kernel(PlanSort sort, PlanHeader* block) {
  if (threadIdx.x == 0) *block = *reinterpret_cast<PlanHeader const*>(sort.blocks.data);
  auto* const rows_per_slot = reinterpret_cast<std::int64_t*>(block + 1);
  for (auto slot = static_cast<std::int32_t>(threadIdx.x); slot < sort.buckets;
       slot += static_cast<std::int32_t>(blockDim.x))
    rows_per_slot[slot] = sort.totals[slot];
}

}  // namespace

void launch_plan_count(PlanSorts const& sorts, StreamView stream) {
  std::int32_t tiles = 1;
  std::int32_t lines = 1;
  for (std::int32_t i = 0; i < sorts.count; ++i) {
    PlanSort const& sort = sorts.sort[i];
    tiles = sort.tiles.count() > tiles ? sort.tiles.count() : tiles;
    lines = sort.lines() > lines ? sort.lines() : lines;
  }
  auto const jobs = static_cast<unsigned>(sorts.count);
  plan_count_kernel<<<dim3(static_cast<unsigned>(tiles), jobs), kBlockThreads,
                      static_cast<std::size_t>(lines) * sizeof(std::uint32_t), stream.handle()>>>(sorts);
  check_launch("plan_count_kernel");
  constexpr std::int32_t kWarps = kBlockThreads / kWarp;
  launch_close("plan_prefix_kernel", &plan_prefix_kernel,
               dim3(static_cast<unsigned>((lines + kWarps - 1) / kWarps), jobs), dim3(kBlockThreads), 0, stream, sorts);
}

void launch_plan_announce(PlanSort const& own, PlanHeader* block, StreamView stream) {
  plan_announce_kernel<<<1, kBlockThreads, 0, stream.handle()>>>(own, block);
  check_launch("plan_announce_kernel");
}

void prepare_plan_count() {
  load_plan_kernel(reinterpret_cast<void const*>(&plan_prefix_kernel));
  load_plan_kernel(reinterpret_cast<void const*>(&plan_announce_kernel));
  SWITCHYARD_CUDA_TRY(cudaFuncSetAttribute(reinterpret_cast<void const*>(&plan_count_kernel),
                                           cudaFuncAttributeMaxDynamicSharedMemorySize, kPlanSharedBytes));
}

}  // namespace switchyard::cuda
