// SPDX-License-Identifier: Apache-2.0
/// What a plan's counts alone decide, computed by one block beside those that place rows: splits, chunk sizes, the last
/// entries of lists, and whether everything fits. Sums go by warps: a thread's chain of loads would outlast the rest.
#pragma once

#include <cstdint>

#include "plan_error.cuh"
#include "plan_tile.cuh"

namespace switchyard::cuda {

/// The rows of every (source, local expert) pair: from the counts that ranks announced, or from their slot tables.
struct PlanArrivals {
  PlanSorts const& sorts;
  PlanFinish const& finish;

  __device__ std::int64_t rows(std::int32_t source, std::int32_t local) const {
    if (finish.arrival < 0)
      return is_announced(finish.blocks, source) ? counts_of(finish.blocks, source)[finish.first_slot + local] : 0;
    PlanSort const& sort = sorts.sort[finish.arrival];
    return sort.counts().of_source(sort.tiles, local, finish.position_of[source]);
  }
};

/// Calls work(i) for i in [0, count), spread over the threads of the block.
template <typename Work>
__device__ void for_each_item(std::int32_t count, Work const& work) {
  for (auto i = static_cast<std::int32_t>(threadIdx.x); i < count; i += static_cast<std::int32_t>(blockDim.x)) work(i);
}
/// Calls work(i) for i in [0, count) with all lanes of a warp, spread over the warps of the block.
template <typename Work>
__device__ void for_each_by_warp(std::int32_t count, Work const& work) {
  auto const warps = static_cast<std::int32_t>(blockDim.x) / kWarp;
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x) / kWarp; i < count; i += warps) work(i);
}
/// The sum of value(i) for i in [begin, end), in every lane.
template <typename Value>
__device__ std::int64_t sum_by_warp(std::int32_t begin, std::int32_t end, Value const& value) {
  long long sum = 0;
  for (std::int32_t i = begin + lane_of_thread(); i < end; i += kWarp) sum += value(i);
  for (int distance = kWarp / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
  return sum;
}

__device__ inline std::int64_t total_rows(PlanSort const& sort) {
  return static_cast<std::int64_t>(sort.totals[sort.buckets]) * sort.copies;
}

/// Rows from every source, for every local expert, and of both together.
__device__ inline void finish_arrivals(PlanSorts const& sorts, PlanFinish const& finish,
                                       unsigned long long* expert_rows) {
  PlanArrivals const arrivals{sorts, finish};
  std::int32_t const world = finish.tp * finish.ep;
  for_each_by_warp(world, [&](std::int32_t source) {
    std::int64_t* const sizes =
        finish.chunk_sizes + static_cast<std::int64_t>(finish.chunk_of[source]) * finish.num_local;
    std::int64_t const sum = sum_by_warp(0, finish.num_local, [&](std::int32_t local) {
      std::int64_t const rows = arrivals.rows(source, local);
      sizes[local] = rows;
      return rows;
    });
    if (lane_of_thread() != 0) return;
    finish.arrived[source] = sum;
    atomicAdd(expert_rows, static_cast<unsigned long long>(sum));
  });
  for_each_item(finish.num_local, [&](std::int32_t local) {
    std::int64_t sum = 0;
    if (finish.arrival >= 0)
      sum = sorts.sort[finish.arrival].totals[local];
    else
      for (std::int32_t source = 0; source < world; ++source) sum += arrivals.rows(source, local);
    finish.tokens_per_local[local] = sum;
  });
}

/// What this rank sends over the exchange of single rows.
__device__ inline void finish_sends(PlanSorts const& sorts, PlanFinish const& finish) {
  std::uint32_t const* const rows_of_slot = sorts.sort[finish.own].totals;
  std::int32_t const lane = finish.rank % finish.tp;
  for_each_item(finish.num_slots, [&](std::int32_t slot) { finish.rows_per_slot[slot] = rows_of_slot[slot]; });
  for_each_by_warp(finish.tp * finish.ep, [&](std::int32_t peer) {
    std::int32_t const ep = peer / finish.tp;
    std::int32_t const begin = finish.first_slot_of[ep];
    std::int32_t const end = peer % finish.tp == lane ? finish.first_slot_of[ep + 1] : begin;
    std::int64_t const sent = sum_by_warp(begin, end, [&](std::int32_t slot) { return rows_of_slot[slot]; });
    if (lane_of_thread() == 0) finish.lane_send[peer] = sent;
  });
}

/// What it receives over it, and over the TP gather behind it.
__device__ inline void finish_receives(PlanFinish const& finish) {
  std::int32_t const lane = finish.rank % finish.tp;
  for_each_item(finish.tp * finish.ep, [&](std::int32_t peer) {
    finish.lane_receive[peer] = peer % finish.tp == lane ? finish.arrived[peer] : 0;
    std::int64_t gathered = 0;
    if (peer / finish.tp == finish.rank / finish.tp)
      for (std::int32_t ep = 0; ep < finish.ep; ++ep) gathered += finish.arrived[ep * finish.tp + peer % finish.tp];
    finish.tp_receive[peer] = gathered;
    if (peer == finish.rank) *finish.tp_own = gathered;
  });
}

/// Splits of the exchange of (rank, token) rows.
__device__ inline void finish_carried(PlanSorts const& sorts, PlanFinish const& finish) {
  PlanSort const& unique = sorts.sort[finish.unique];
  PlanSort const& arrival = sorts.sort[finish.arrival];
  for_each_item(finish.tp * finish.ep, [&](std::int32_t peer) {
    finish.rank_send[peer] = unique.totals[peer / finish.tp];
    finish.rank_receive[peer] =
        arrival.counts().of_source(arrival.tiles, arrival.buckets + 1, finish.position_of[peer]);
  });
}

/// Tokens of every rank; one that announced nothing is an error of its own, named by its peers.
__device__ inline void finish_tokens(PlanFinish const& finish, unsigned long long* all_tokens) {
  for_each_item(finish.tp * finish.ep, [&](std::int32_t rank) {
    std::int64_t const tokens = tokens_of(finish.blocks, rank);
    finish.tokens_of_rank[rank] = tokens;
    atomicAdd(all_tokens, static_cast<unsigned long long>(tokens));
    if (rank != finish.rank && !is_announced(finish.blocks, rank))
      raise_plan_error(finish.error, PlanError::other_setup, static_cast<std::uint64_t>(rank));
  });
}

/// One thread: the numbers that lengths of lists follow from, and the last entry of every list of offsets.
__device__ inline void finish_numbers(PlanSorts const& sorts, PlanFinish const& finish, std::int64_t expert_rows,
                                      std::int64_t all_tokens) {
  std::int64_t* const numbers = finish.numbers;
  std::int64_t const tokens = finish.tokens_of_rank[finish.rank];
  PlanSort const& own = sorts.sort[finish.own];
  numbers[kPlanTokens] = tokens;
  numbers[kPlanExpertRows] = expert_rows;
  numbers[kPlanRows] = total_rows(own);
  own.input_begin[tokens] = total_rows(own);
  if (finish.unique >= 0) {
    PlanSort const& unique = sorts.sort[finish.unique];
    numbers[kPlanSentRows] = total_rows(unique);
    unique.input_begin[tokens] = total_rows(unique);
  }
  if (finish.arrival < 0) return;
  PlanSort const& arrival = sorts.sort[finish.arrival];
  std::int64_t const inputs = arrival.counts_carried ? arrival.totals[arrival.buckets + 1] : all_tokens;
  numbers[kPlanInputs] = inputs;
  arrival.input_begin[inputs] = total_rows(arrival);
}

/// One block.
__device__ inline void finish_plan(PlanSorts const& sorts, PlanFinish const& finish) {
  __shared__ unsigned long long expert_rows;
  __shared__ unsigned long long all_tokens;
  if (threadIdx.x == 0) {
    expert_rows = 0;
    all_tokens = 0;
  }
  __syncthreads();
  finish_arrivals(sorts, finish, &expert_rows);
  finish_sends(sorts, finish);
  if (finish.unique >= 0) finish_carried(sorts, finish);
  finish_tokens(finish, &all_tokens);
  __syncthreads();
  finish_receives(finish);
  if (threadIdx.x != 0) return;
  auto const rows = static_cast<std::int64_t>(expert_rows);
  finish_numbers(sorts, finish, rows, static_cast<std::int64_t>(all_tokens));
  if (rows > finish.max_expert_rows)
    raise_plan_error(finish.error, PlanError::overflow, static_cast<std::uint64_t>(rows));
  finish.error[1] = atomicMax(finish.error, 0ULL);
}

}  // namespace switchyard::cuda
