// SPDX-License-Identifier: Apache-2.0
/// How ranks of the path with slots of fixed size agree on a step without the host: every rank says the same words to
/// all, so that all of them come to the same verdict, and an error of one is the error of each.
#pragma once

#include "budget_kernels.hpp"
#include "plan_error.cuh"
#include "row_blocks.cuh"

namespace switchyard::cuda {

/// The row of the slots at `place` of what goes to `rank`, and of what came from there.
__device__ inline std::int64_t row_sent(BudgetExchange const& exchange, std::int32_t rank, std::int64_t place) {
  return exchange.lanes.slot_of(rank) * exchange.slot_rows + place;
}
__device__ inline std::int64_t row_received(BudgetExchange const& exchange, std::int32_t rank, std::int64_t place) {
  std::int64_t const row = row_sent(exchange, rank, place);
  return rank == exchange.rank ? row : exchange.world * exchange.slot_rows + row;
}

/// What a copy makes zeros of.
inline constexpr std::int64_t kZeroRow = -1;

/// The expert row of a row in the order of (local expert, source); kZeroRow where its bin has no room.
__device__ inline std::int64_t expert_row(BudgetExchange const& exchange, BudgetChunks const& chunks,
                                          std::int32_t local, std::int64_t sorted) {
  if (chunks.bin_begin == nullptr) return sorted;
  std::int64_t const place = sorted - chunks.row_begin[static_cast<std::int64_t>(local) * exchange.world];
  std::int64_t const row = chunks.bin_begin[local] + place;
  return row < chunks.bin_begin[local + 1] ? row : kZeroRow;
}
/// The same backwards; kZeroRow for an empty row of a bin.
__device__ inline std::int64_t sorted_row(BudgetExchange const& exchange, BudgetChunks const& chunks,
                                          std::int64_t row) {
  if (chunks.bin_begin == nullptr) return row;
  std::int32_t const local = block_of(chunks.bin_begin, chunks.num_local, row);
  std::int64_t const* const begin = chunks.row_begin + static_cast<std::int64_t>(local) * exchange.world;
  std::int64_t const sorted = *begin + row - chunks.bin_begin[local];
  return sorted < begin[exchange.world] ? sorted : kZeroRow;
}

__device__ inline unsigned long long budget_error(BudgetError kind, std::int64_t detail) {
  return static_cast<unsigned long long>(kind) << kPlanErrorShift |
         (static_cast<unsigned long long>(detail) & kPlanDetailMask);
}

/// The first block of a kernel: a new exchange begins, and this rank says what it has.
__device__ inline void say_words(BudgetExchange const& exchange) {
  __shared__ std::uint64_t sequence;
  BudgetState* const state = exchange.state;
  if (threadIdx.x == 0) sequence = ++state->sequence;
  __syncthreads();
  bool const has_group_error = state->error != 0;
  BudgetHeader word{};
  word.sequence = sequence;
  word.digest = exchange.digest;
  word.error = has_group_error ? state->error : state->local_error;
  word.error_rank = has_group_error ? state->error_rank : exchange.rank;
  word.needs = has_group_error ? state->needs : state->local_needs;
  for (auto rank = static_cast<std::int32_t>(threadIdx.x); rank < exchange.world;
       rank += static_cast<std::int32_t>(blockDim.x)) {
    word.rows = exchange.sent[rank];
    exchange.said[rank] = word;
  }
}

__device__ inline BudgetHeader const& word_of(BudgetExchange const& exchange, std::int32_t rank) {
  return rank == exchange.rank ? exchange.said[rank] : exchange.heard[rank];
}

/// What the words of all ranks come to.
struct BudgetVerdict {
  unsigned long long error;
  unsigned long long error_rank;
  unsigned long long needs[3];
};

/// The largest error that a word names, or that its difference from rank 0's is.
__device__ inline unsigned long long error_in(BudgetExchange const& exchange, std::int32_t rank) {
  BudgetHeader const& word = word_of(exchange, rank);
  BudgetHeader const& first = word_of(exchange, 0);
  if (word.sequence != first.sequence || word.digest != first.digest)
    return budget_error(BudgetError::other_call, static_cast<std::int64_t>(kPlanDetailMask) - rank);
  if (word.error == 0 && word.rows != exchange.received[rank]) return budget_error(BudgetError::other_rows, rank);
  return word.error;
}

/// All threads of a block. A later __syncthreads() of the caller's is not needed.
__device__ inline void judge_words(BudgetExchange const& exchange, BudgetVerdict& verdict) {
  if (threadIdx.x == 0) verdict = {0, ~0ULL, {0, 0, 0}};
  __syncthreads();
  auto const first = static_cast<std::int32_t>(threadIdx.x);
  auto const step = static_cast<std::int32_t>(blockDim.x);
  for (std::int32_t rank = first; rank < exchange.world; rank += step) {
    BudgetNeeds const& needs = word_of(exchange, rank).needs;
    std::int64_t const rows[] = {needs.single_rows, needs.carried_rows, needs.expert_rows};
    for (int i = 0; i < 3; ++i) atomicMax(&verdict.needs[i], static_cast<unsigned long long>(rows[i]));
    atomicMax(&verdict.error, error_in(exchange, rank));
  }
  __syncthreads();
  for (std::int32_t rank = first; rank < exchange.world; rank += step)
    if (word_of(exchange, rank).error == verdict.error && verdict.error != 0)
      atomicMin(&verdict.error_rank, static_cast<unsigned long long>(word_of(exchange, rank).error_rank));
  __syncthreads();
}

/// All threads of all blocks, first thing behind an exchange. @return whether the step's rows may be used
__device__ inline bool may_use_rows(BudgetExchange const& exchange) {
  __shared__ BudgetVerdict verdict;
  judge_words(exchange, verdict);
  BudgetState* const state = exchange.state;
  if (blockIdx.x == 0 && threadIdx.x == 0 && verdict.error != 0 && state->error == 0) {
    bool const is_named = verdict.error_rank != ~0ULL;
    state->error_rank = is_named ? static_cast<std::int64_t>(verdict.error_rank) : exchange.rank;
    state->needs = {static_cast<std::int64_t>(verdict.needs[0]), static_cast<std::int64_t>(verdict.needs[1]),
                    static_cast<std::int64_t>(verdict.needs[2])};
    state->error = verdict.error;
  }
  return verdict.error == 0;
}

}  // namespace switchyard::cuda
