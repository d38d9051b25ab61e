// SPDX-License-Identifier: Apache-2.0
// MegaBlocks' last stages: one block turns counts into where chunks, experts and bins begin, then every row finds its
// place by itself. A world of one rank fills bins straight from its tokens, whose lists want sums over tokens, too.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "plan_bins.hpp"
#include "plan_error.cuh"
#include "plan_scan.cuh"
#include "row_blocks.cuh"

namespace switchyard::cuda {

namespace {

__device__ std::int64_t rows_of_bin(PlanBinsParams const& params, std::int64_t arrived, std::int64_t most) {
  switch (params.bins) {
    case ExpertBins::exact: return arrived;
    case ExpertBins::blocks: return (arrived + params.block_rows - 1) / params.block_rows * params.block_rows;
    case ExpertBins::capacity: break;
  }
  return params.capacity < 0 ? most : params.capacity;
}

__device__ std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

__device__ std::int64_t rows_of_chunk(PlanBinsParams const& params, std::int64_t source, std::int64_t local) {
  return params.chunk_sizes[source * params.num_local + local];
}

/// Hidden shards: every rank that holds a block gets its rows.
__device__ void send_to_shards(PlanBinsParams const& params) {
  for (auto peer = static_cast<std::int32_t>(threadIdx.x); peer < params.world; peer += kBlockThreads) {
    bool const is_last = (peer + 1) % params.blocks == 0;
    std::int32_t const end = is_last ? params.num_slots : params.first_slot_of[peer + 1];
    std::int64_t rows = 0;
    for (std::int32_t slot = params.first_slot_of[peer]; slot < end; ++slot) rows += params.rows_per_slot[slot];
    params.lane_send[peer] = rows;
  }
  if (threadIdx.x != 0) return;
  params.shard_repeat[0] = params.numbers[kPlanRows];
  params.shard_repeat[1] = params.world / params.blocks;
}

__global__ void plan_bins_kernel(PlanBinsParams params) {
  __shared__ PlanScan::TempStorage storage;
  __shared__ unsigned long long most;
  if (threadIdx.x == 0) most = 0;
  if (params.shard_repeat != nullptr) send_to_shards(params);
  __syncthreads();
  for (auto local = static_cast<std::int32_t>(threadIdx.x); local < params.num_local; local += kBlockThreads)
    atomicMax(&most, static_cast<unsigned long long>(params.arrived[local]));
  __syncthreads();
  for (auto local = static_cast<std::int32_t>(threadIdx.x); local < params.num_local; local += kBlockThreads)
    params.bin_rows[local] = rows_of_bin(params, params.arrived[local], static_cast<std::int64_t>(most));
  __syncthreads();
  scan_items(storage, params.num_local, params.bin_begin, [&](std::int64_t local) { return params.bin_rows[local]; });
  scan_items(storage, params.num_local, params.kept_begin,
             [&](std::int64_t local) { return smaller(params.arrived[local], params.bin_rows[local]); });
  scan_items(storage, std::int64_t{params.num_local} * params.world, params.sorted_begin,
             [&](std::int64_t chunk) { return rows_of_chunk(params, chunk % params.world, chunk / params.world); });
  scan_items(storage, params.world, params.source_begin, [&](std::int64_t source) {
    std::int64_t rows = 0;
    for (std::int32_t local = 0; local < params.num_local; ++local) rows += rows_of_chunk(params, source, local);
    return rows;
  });
  if (threadIdx.x != 0) return;
  std::int64_t const rows = params.bin_begin[params.num_local];
  params.numbers[kPlanExpertRows] = rows;
  params.numbers[kPlanSortedRows] = params.source_begin[params.world];
  params.numbers[kPlanBinnedRows] = params.kept_begin[params.num_local];
  if (rows > params.max_bin_rows) raise_plan_error(params.error, PlanError::overflow, static_cast<std::uint64_t>(rows));
  params.error[1] = atomicMax(params.error, 0ULL);
}

/// A sorted row: its expert, its place among the expert's rows.
struct SortedRow {
  __device__ SortedRow(PlanBinsParams const& params, std::int64_t row) {
    chunk = block_of(params.sorted_begin, params.num_local * params.world, row);
    local = chunk / params.world;
    place = row - params.sorted_begin[static_cast<std::int64_t>(local) * params.world];
  }
  [[nodiscard]] __device__ bool is_kept(PlanBinsParams const& params) const { return place < params.bin_rows[local]; }
  std::int32_t chunk;
  std::int32_t local;
  std::int64_t place;
};

/// The row as it arrived.
__device__ std::int64_t arrived_row(PlanBinsParams const& params, SortedRow const& sorted, std::int64_t row) {
  std::int32_t const source = sorted.chunk % params.world;
  std::int64_t input = params.source_begin[source] + row - params.sorted_begin[sorted.chunk];
  for (std::int32_t local = 0; local < sorted.local; ++local) input += rows_of_chunk(params, source, local);
  return input;
}

__device__ void place_sorted(PlanBinsParams const& params, std::int64_t row) {
  SortedRow const sorted(params, row);
  if (params.sort.input_begin != nullptr) {
    std::int64_t const input = arrived_row(params, sorted, row);
    params.sort.row_input[row] = input;
    params.sort.input_begin[row] = row;
    params.sort.input_rows[input] = row;
  }
  if (params.binned.input_begin == nullptr || params.own.row_begin != nullptr) return;
  std::int64_t const before = params.kept_begin[sorted.local] + smaller(sorted.place, params.bin_rows[sorted.local]);
  params.binned.input_begin[row] = before;
  if (sorted.is_kept(params) && before < params.max_sorted_rows)
    params.binned.input_rows[before] = params.bin_begin[sorted.local] + sorted.place;
}

__device__ void place_bin_row(PlanBinsParams const& params, std::int64_t row) {
  std::int32_t const local = block_of(params.bin_begin, params.num_local, row);
  std::int64_t const place = row - params.bin_begin[local];
  bool const is_filled = place < params.arrived[local];
  std::int64_t const sorted = params.sorted_begin[static_cast<std::int64_t>(local) * params.world] + place;
  bool const is_local = params.own.row_begin != nullptr;
  params.binned.row_input[row] = !is_filled ? -1 : is_local ? params.own.token_of_row[sorted] : sorted;
  if (is_local) params.binned.row_column[row] = is_filled ? params.own.slot_of_row[sorted] : -1;
}

__global__ void place_bins_kernel(PlanBinsParams params) {
  std::int64_t const arrived = params.numbers[kPlanSortedRows];
  std::int64_t const sorted = smaller(arrived, params.max_sorted_rows);
  for (std::int64_t row = first_item(); row < sorted; row += item_stride()) place_sorted(params, row);
  if (first_item() == 0 && params.sort.input_begin != nullptr) params.sort.input_begin[sorted] = sorted;
  if (params.binned.input_begin == nullptr) return;
  if (first_item() == 0 && params.own.row_begin == nullptr)
    params.binned.input_begin[sorted] = params.kept_begin[params.num_local];
  std::int64_t const rows = smaller(params.bin_begin[params.num_local], params.max_bin_rows);
  for (std::int64_t row = first_item(); row < rows; row += item_stride()) place_bin_row(params, row);
}

/// World 1, one block: tokens with the rows of theirs that found room.
__global__ void bin_tokens_kernel(PlanBinsParams params) {
  __shared__ PlanScan::TempStorage storage;
  DeviceGather const& own = params.own;
  auto const kept_of = [&](std::int64_t token, std::int64_t* places) {
    std::int64_t kept = 0;
    for (std::int64_t i = own.row_begin[token]; i < own.row_begin[token + 1]; ++i) {
      SortedRow const sorted(params, own.rows_of_token[i]);
      if (!sorted.is_kept(params)) continue;
      if (places != nullptr) places[kept] = params.bin_begin[sorted.local] + sorted.place;
      ++kept;
    }
    return kept;
  };
  std::int64_t const tokens = params.numbers[kPlanTokens];
  scan_items(storage, tokens, params.binned.input_begin, [&](std::int64_t token) { return kept_of(token, nullptr); });
  for (std::int64_t token = threadIdx.x; token < tokens; token += kBlockThreads)
    kept_of(token, params.binned.input_rows + params.binned.input_begin[token]);
}

}  // namespace

void launch_plan_bins(PlanBinsParams const& params, StreamView stream) {
  plan_bins_kernel<<<1, kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("plan_bins_kernel");
  std::int64_t const rows = params.max_bin_rows > params.max_sorted_rows ? params.max_bin_rows : params.max_sorted_rows;
  place_bins_kernel<<<grid_blocks(rows), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("place_bins_kernel");
  if (params.own.row_begin == nullptr || params.binned.input_begin == nullptr) return;
  bin_tokens_kernel<<<1, kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("bin_tokens_kernel");
}

}  // namespace switchyard::cuda
