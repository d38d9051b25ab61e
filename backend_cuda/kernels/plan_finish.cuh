// SPDX-License-Identifier: Apache-2.0
/// What a plan's counts alone decide, computed by one block: splits, chunk sizes, the last entries of lists, and
/// whether everything fits.
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
  __device__ std::int64_t rows_of(std::int32_t source) const {
    std::int64_t sum = 0;
    for (std::int32_t local = 0; local < finish.num_local; ++local) sum += rows(source, local);
    return sum;
  }
};

/// Calls work(i) for i in [0, count), spread over the threads of the block.
template <typename Work>
__device__ void for_each_item(std::int32_t count, Work const& work) {
  for (auto i = static_cast<std::int32_t>(threadIdx.x); i < count; i += static_cast<std::int32_t>(blockDim.x)) work(i);
}

__device__ inline std::int64_t total_rows(PlanSort const& sort) {
  return static_cast<std::int64_t>(sort.totals[sort.buckets]) * sort.copies;
}

/// Splits of the exchange and of the TP gather of single rows.
__device__ inline void finish_lanes(PlanSorts const& sorts, PlanFinish const& finish, PlanArrivals const& arrivals) {
  std::uint32_t const* const rows_of_slot = sorts.sort[finish.own].totals;
  std::int32_t const lane = finish.rank % finish.tp;
  std::int32_t const my_ep = finish.rank / finish.tp;
  for_each_item(finish.num_slots, [&](std::int32_t slot) { finish.rows_per_slot[slot] = rows_of_slot[slot]; });
  for_each_item(finish.tp * finish.ep, [&](std::int32_t peer) {
    bool const is_in_lane = peer % finish.tp == lane;
    std::int64_t sent = 0;
    if (is_in_lane)
      for (std::int32_t slot = finish.first_slot_of[peer / finish.tp];
           slot < finish.first_slot_of[peer / finish.tp + 1]; ++slot)
        sent += rows_of_slot[slot];
    finish.lane_send[peer] = sent;
    finish.lane_receive[peer] = is_in_lane ? arrivals.rows_of(peer) : 0;
    std::int64_t gathered = 0;
    if (peer / finish.tp == my_ep)
      for (std::int32_t ep = 0; ep < finish.ep; ++ep) gathered += arrivals.rows_of(ep * finish.tp + peer % finish.tp);
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

__device__ inline void finish_arrivals(PlanFinish const& finish, PlanArrivals const& arrivals,
                                       unsigned long long* expert_rows) {
  std::int32_t const world = finish.tp * finish.ep;
  for_each_item(world * finish.num_local, [&](std::int32_t i) {
    std::int32_t const source = i / finish.num_local;
    std::int32_t const local = i % finish.num_local;
    std::int64_t const rows = arrivals.rows(source, local);
    if (rows != 0) atomicAdd(expert_rows, static_cast<unsigned long long>(rows));
    if (finish.chunk_sizes != nullptr)
      finish.chunk_sizes[static_cast<std::int64_t>(finish.chunk_of[source]) * finish.num_local + local] = rows;
  });
  for_each_item(finish.num_local, [&](std::int32_t local) {
    std::int64_t sum = 0;
    for (std::int32_t source = 0; source < world; ++source) sum += arrivals.rows(source, local);
    finish.tokens_per_local[local] = sum;
  });
}

/// The numbers that lengths of lists follow from, and the last entry of every list of offsets.
__device__ inline void finish_numbers(PlanSorts const& sorts, PlanFinish const& finish, std::int64_t expert_rows) {
  std::int64_t* const numbers = finish.numbers;
  std::int64_t const tokens = tokens_of(finish.blocks, finish.rank);
  numbers[kPlanTokens] = tokens;
  numbers[kPlanExpertRows] = expert_rows;
  if (finish.own >= 0) {
    PlanSort const& own = sorts.sort[finish.own];
    numbers[kPlanRows] = total_rows(own);
    own.input_begin[tokens] = total_rows(own);
  }
  if (finish.unique >= 0) {
    PlanSort const& unique = sorts.sort[finish.unique];
    numbers[kPlanSentRows] = total_rows(unique);
    unique.input_begin[tokens] = total_rows(unique);
  }
  if (finish.arrival < 0) return;
  PlanSort const& arrival = sorts.sort[finish.arrival];
  std::int64_t inputs = 0;
  for (std::int32_t rank = 0; rank < finish.tp * finish.ep; ++rank) inputs += tokens_of(finish.blocks, rank);
  if (arrival.counts_carried) inputs = arrival.totals[arrival.buckets + 1];
  numbers[kPlanInputs] = inputs;
  arrival.input_begin[inputs] = total_rows(arrival);
}

/// One block.
__device__ inline void finish_plan(PlanSorts const& sorts, PlanFinish const& finish) {
  __shared__ unsigned long long expert_rows;
  if (threadIdx.x == 0) expert_rows = 0;
  __syncthreads();
  PlanArrivals const arrivals{sorts, finish};
  if (finish.own >= 0) finish_lanes(sorts, finish, arrivals);
  if (finish.unique >= 0) finish_carried(sorts, finish);
  finish_arrivals(finish, arrivals, &expert_rows);
  for_each_item(finish.tp * finish.ep, [&](std::int32_t rank) {
    finish.tokens_of_rank[rank] = tokens_of(finish.blocks, rank);
    if (rank != finish.rank && !is_announced(finish.blocks, rank))
      raise_plan_error(finish.error, PlanError::other_setup, static_cast<std::uint64_t>(rank));
  });
  __syncthreads();
  if (threadIdx.x != 0) return;
  auto const rows = static_cast<std::int64_t>(expert_rows);
  finish_numbers(sorts, finish, rows);
  if (rows > finish.max_expert_rows)
    raise_plan_error(finish.error, PlanError::overflow, static_cast<std::uint64_t>(rows));
}

}  // namespace switchyard::cuda
