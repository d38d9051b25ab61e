// SPDX-License-Identifier: Apache-2.0
// The lists of the planner's sorts. Every warp of a block walks its own part of a tile in order, 32 choices at a time:
// lanes of one bucket find their rank among themselves, so that rows are stable without any order between threads.
#include <cub/block/block_scan.cuh>

#include "cuda_error.hpp"
#include "plan_finish.cuh"
#include "plan_launch.cuh"
#include "plan_tile.cuh"

namespace switchyard::cuda {

namespace {

constexpr std::int32_t kMostWarps = 8;

/// Where the lists of a part of a tile go on.
struct Cursor {
  std::uint32_t kept;
  std::uint32_t inputs;
};

/// Shared memory of a placing block.
struct PlaceMemory {
  cub::BlockScan<std::uint32_t, kBlockThreads>::TempStorage scan;
  Cursor first;  ///< of the tile
  Cursor of_warp[kMostWarps];
};

/// First row of every bucket.
__device__ void scan_buckets(PlanSort const& sort, PlaceMemory& memory, std::uint32_t* first_row) {
  using Scan = cub::BlockScan<std::uint32_t, kBlockThreads>;
  std::uint32_t before = 0;
  for (std::int32_t begin = 0; begin < sort.buckets; begin += kBlockThreads) {
    std::int32_t const bucket = begin + static_cast<std::int32_t>(threadIdx.x);
    std::uint32_t first = 0;
    std::uint32_t sum = 0;
    Scan(memory.scan).ExclusiveSum(bucket < sort.buckets ? sort.totals[bucket] : 0U, first, sum);
    if (bucket < sort.buckets) first_row[bucket] = before + first;
    before += sum;
    __syncthreads();
  }
}

/// Lists by input go by source rank, tiles by row order: what lower ranks have, wherever they stand.
__device__ void find_first(PlanSort const& sort, TileChoices const& choices, std::int32_t tile, PlaceMemory& memory) {
  if (threadIdx.x == 0) memory.first = {0, 0};
  __syncthreads();
  hd::PlanCounts const counts = sort.counts();
  std::int32_t const carried = sort.buckets + 1;
  for (auto position = static_cast<std::int32_t>(threadIdx.x); position < sort.tiles.sources;
       position += kBlockThreads) {
    std::int32_t const source = source_of(sort, position);
    if (source >= choices.source) continue;
    atomicAdd(&memory.first.kept, counts.of_source(sort.tiles, sort.buckets, position));
    atomicAdd(&memory.first.inputs, sort.counts_carried ? counts.of_source(sort.tiles, carried, position)
                                                        : static_cast<std::uint32_t>(tokens_of(sort.blocks, source)));
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  std::int32_t const begin = choices.position * sort.tiles.per_source;
  memory.first.kept += counts.before(sort.buckets, tile) - counts.before(sort.buckets, begin);
  memory.first.inputs += sort.counts_carried ? counts.before(carried, tile) - counts.before(carried, begin)
                                             : static_cast<std::uint32_t>(choices.tokens.begin);
}

/// Choices of one warp: those of its part of the tile's tokens.
struct WarpPart {
  __device__ WarpPart(PlanSort const& sort, TileChoices const& choices, std::int32_t warp, std::int32_t warps) {
    hd::PlanRange const all{0, choices.tokens.end - choices.tokens.begin};
    hd::PlanRange const tokens = hd::part_of(all, warp, warps);
    first_token = tokens.begin;
    begin = tokens.begin * sort.columns;
    end = tokens.end * sort.columns;
  }
  std::int64_t first_token;
  std::int64_t begin;
  std::int64_t end;
};

__device__ hd::PlanChoice choice_in(PlanSort const& sort, TileChoices const& choices, WarpPart const& part,
                                    std::int64_t index) {
  return index < part.end ? choices.at(sort, index) : hd::PlanChoice{};
}

/// How many rows of every bucket a warp's part holds, and how far it moves the lists on.
__device__ void count_part(PlanSort const& sort, TileChoices const& choices, WarpPart const& part,
                           std::uint32_t* rows_of_bucket, Cursor& moved) {
  Cursor sum{0, 0};
  for (std::int64_t first = part.begin; first < part.end; first += kWarp) {
    hd::PlanChoice const choice = choice_in(sort, choices, part, first + lane_of_thread());
    bool const is_kept = choice.key >= 0;
    if (is_kept) atomicAdd(&rows_of_bucket[choice.key], 1U);
    sum.kept += static_cast<std::uint32_t>(__popc(__ballot_sync(kAllLanes, is_kept)));
    sum.inputs += static_cast<std::uint32_t>(__popc(__ballot_sync(kAllLanes, is_kept && choice.before == 0)));
  }
  if (!sort.counts_carried) sum.inputs = static_cast<std::uint32_t>((part.end - part.begin) / sort.columns);
  if (lane_of_thread() == 0) moved = sum;
}

/// Turns counts of warps into where each of them starts.
__device__ void start_warps(PlanSort const& sort, std::int32_t tile, std::int32_t warps, std::uint32_t* next,
                            PlaceMemory& memory) {
  for (auto bucket = static_cast<std::int32_t>(threadIdx.x); bucket < sort.buckets; bucket += kBlockThreads) {
    std::uint32_t start = sort.counts().before(bucket, tile);
    for (std::int32_t warp = 0; warp < warps; ++warp) {
      std::uint32_t& of_warp = next[warp * sort.buckets + bucket];
      std::uint32_t const rows = of_warp;
      of_warp = start;
      start += rows;
    }
  }
  if (threadIdx.x != 0) return;
  Cursor cursor = memory.first;
  for (std::int32_t warp = 0; warp < warps; ++warp) {
    Cursor const moved = memory.of_warp[warp];
    memory.of_warp[warp] = cursor;
    cursor.kept += moved.kept;
    cursor.inputs += moved.inputs;
  }
}

/// Writes the rows of one choice. @param listed index of its first entry in input_rows
__device__ void write_rows(PlanSort const& sort, hd::PlanChoice const& choice, std::uint32_t first_row,
                           std::uint32_t in_bucket, std::int64_t input, std::int32_t column, std::int64_t listed) {
  for (std::int32_t copy = 0; copy < sort.copies; ++copy) {
    std::int64_t const row = static_cast<std::int64_t>(first_row) * sort.copies +
                             static_cast<std::int64_t>(copy) * sort.totals[choice.key] + in_bucket;
    if (row < sort.max_rows) {
      sort.row_input[row] = input;
      if (sort.row_column != nullptr) sort.row_column[row] = column;
    }
    if (listed + copy < sort.max_rows) sort.input_rows[listed + copy] = row;
  }
}

/// @param next the warp's rows of every bucket so far, from the bucket's first one on
__device__ void place_part(PlanSort const& sort, TileChoices const& choices, WarpPart const& part,
                           std::uint32_t const* first_row, std::uint32_t* next, Cursor cursor) {
  std::uint32_t const lower = (1U << lane_of_thread()) - 1;
  for (std::int64_t first = part.begin; first < part.end; first += kWarp) {
    std::int64_t const index = first + lane_of_thread();
    hd::PlanChoice const choice = choice_in(sort, choices, part, index);
    bool const is_kept = choice.key >= 0;
    unsigned const kept = __ballot_sync(kAllLanes, is_kept);
    unsigned const leading = __ballot_sync(kAllLanes, is_kept && choice.before == 0);
    unsigned const alike = __match_any_sync(kAllLanes, choice.key);
    std::uint32_t const in_bucket = is_kept ? next[choice.key] + static_cast<std::uint32_t>(__popc(alike & lower)) : 0;
    __syncwarp();
    if (is_kept && (alike >> lane_of_thread()) == 1U) next[choice.key] = in_bucket + 1;
    __syncwarp();
    std::int64_t const before = cursor.kept + static_cast<std::uint32_t>(__popc(kept & lower));
    auto const within = static_cast<std::uint32_t>(index);
    auto const columns = static_cast<std::uint32_t>(sort.columns);
    auto const column = static_cast<std::int32_t>(within % columns);
    std::int64_t input = cursor.inputs + within / columns - part.first_token;
    if (sort.counts_carried) input = static_cast<std::int64_t>(cursor.inputs) + __popc(leading & (lower << 1 | 1U)) - 1;
    bool const begins = sort.counts_carried ? (leading >> lane_of_thread() & 1U) != 0 : index < part.end && column == 0;
    if (begins) sort.input_begin[input] = before * sort.copies;
    if (is_kept)
      write_rows(sort, choice, first_row[choice.key], in_bucket, input, column,
                 (before - choice.before + choice.place) * sort.copies);
    cursor.kept += static_cast<std::uint32_t>(__popc(kept));
    if (sort.counts_carried) cursor.inputs += static_cast<std::uint32_t>(__popc(leading));
  }
}

__device__ void place_tile(PlanSort const& sort, std::int32_t tile, std::int32_t warps, std::uint32_t* shared) {
  __shared__ PlaceMemory memory;
  TileChoices const choices(sort, tile);
  if (choices.count == 0) return;
  std::uint32_t* const first_row = shared;
  std::uint32_t* const next = shared + sort.buckets;
  for (auto i = static_cast<std::int32_t>(threadIdx.x); i < warps * sort.buckets; i += kBlockThreads) next[i] = 0;
  scan_buckets(sort, memory, first_row);
  find_first(sort, choices, tile, memory);
  __syncthreads();
  auto const warp = static_cast<std::int32_t>(threadIdx.x) / kWarp;
  WarpPart const part(sort, choices, warp, warps);
  std::uint32_t* const own = next + warp * sort.buckets;
  if (warp < warps) count_part(sort, choices, part, own, memory.of_warp[warp]);
  __syncthreads();
  start_warps(sort, tile, warps, next, memory);
  __syncthreads();
  if (warp < warps) place_part(sort, choices, part, first_row, own, memory.of_warp[warp]);
}

__global__ void __launch_bounds__(kBlockThreads) plan_place_kernel(PlanSorts sorts, PlanFinish finish) {
  extern __shared__ std::uint32_t shared[];
  await_kernel_before();
  let_next_kernel_come();
  auto const job = static_cast<std::int32_t>(blockIdx.y);
  auto const tile = static_cast<std::int32_t>(blockIdx.x);
  if (job == sorts.count) {
    if (tile == 0) finish_plan(sorts, finish);
    return;
  }
  if (tile < sorts.sort[job].tiles.count()) place_tile(sorts.sort[job], tile, sorts.warps, shared);
}

constexpr int kStaticSharedBytes = 2048;

}  // namespace

std::int32_t plan_warps(std::int32_t buckets) {
  std::int64_t const words = (kPlanSharedBytes - kStaticSharedBytes) / static_cast<std::int64_t>(sizeof(std::uint32_t));
  std::int32_t warps = kMostWarps;
  while (warps > 0 && std::int64_t{buckets} * (warps + 1) > words) warps /= 2;
  return warps;
}

void prepare_plan_kernels() {
  prepare_plan_count();
  prepare_plan_slots();
  SWITCHYARD_CUDA_TRY(cudaFuncSetAttribute(reinterpret_cast<void const*>(&plan_place_kernel),
                                           cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           kPlanSharedBytes - kStaticSharedBytes));
}

void launch_plan_place(PlanSorts const& sorts, PlanFinish const& finish, StreamView stream) {
  std::int32_t tiles = 1;
  std::int32_t buckets = 1;
  for (std::int32_t i = 0; i < sorts.count; ++i) {
    PlanSort const& sort = sorts.sort[i];
    tiles = sort.tiles.count() > tiles ? sort.tiles.count() : tiles;
    buckets = sort.buckets > buckets ? sort.buckets : buckets;
  }
  auto const bytes =
      static_cast<std::size_t>(buckets) * static_cast<std::size_t>(sorts.warps + 1) * sizeof(std::uint32_t);
  dim3 const grid(static_cast<unsigned>(tiles), static_cast<unsigned>(sorts.count) + 1);
  launch_close("plan_place_kernel", &plan_place_kernel, grid, dim3(kBlockThreads), bytes, stream, sorts, finish);
}

}  // namespace switchyard::cuda
