// SPDX-License-Identifier: Apache-2.0
/// BlockPlan: the plan of a small Flex batch by one block in shared memory, where a chain of kernels would mostly wait
/// for launches. The same integers as plan_count.cu, plan_place.cu and plan_finish.cuh make.
///
/// Choices are counted by warps in their order: a warp holds a part of one source's choices, so that a choice's place
/// in its bucket is what earlier warps have, what its warp had before, and the lanes in front of it. Both sorts by slot
/// (this rank's rows, and rows that arrive) share the counts: a local slot's rows from this rank are the same rows.
#pragma once

#include <cstdint>

#include "plan_block_memory.cuh"
#include "plan_error.cuh"
#include "plan_tile.cuh"

namespace switchyard::cuda {

class BlockPlan {
 public:
  __device__ BlockPlan(PlanBlockTables const& tables, PlanSorts const& sorts, PlanFinish const& finish)
      : tables_(tables),
        memory_(tables.memory),
        rank_of_slot_(sorts.sort[finish.unique].keys.rank_of_slot),
        error_(finish.error) {}

  /// Before count(), no meeting needed between. What no step changes, so that the kernel before may still run.
  __device__ void clear() {
    auto const thread = static_cast<std::int32_t>(threadIdx.x);
    auto* const own = reinterpret_cast<std::uint32_t*>(tables_.counts + PlanBlockTables::warp() * tables_.pitch);
    for (std::int32_t i = lane_of_thread(); i < tables_.pitch / 2; i += kWarp) own[i] = 0;
    if (thread < tables_.shape.slots) memory_.rank_of_slot[thread] = rank_of_slot_[thread];
    if (thread < tables_.shape.ranks) memory_.tokens[thread] = 0;
    __syncwarp();
  }

  /// Before count(), by the warp that counts the choice. @param index among the source's choices
  __device__ void put(PlanBlockPart const& part, std::int32_t index, std::int32_t slot) {
    tables_.slots[part.source * tables_.choices + index] = slot;
  }

  /// All lanes of a warp: counts its choices, 32 at a time.
  __device__ void count(PlanBlockPart const& part) {
    __syncwarp();
    std::uint16_t* const counts = tables_.counts + PlanBlockTables::warp() * tables_.pitch;
    unsigned const lower = (1U << lane_of_thread()) - 1;
    for (std::int32_t first = part.begin; first < part.end; first += kWarp) {
      std::int32_t const index = first + lane_of_thread();
      std::int32_t const choice = part.source * tables_.choices + index;
      std::int32_t const slot = index < part.end ? tables_.slots[choice] : kNoToken;
      bool const is_counted = slot >= 0 && (part.source == tables_.rank || tables_.is_local(slot));
      unsigned const alike = __match_any_sync(kAllLanes, is_counted ? slot : kDroppedChoice);
      std::uint32_t const before = is_counted ? counts[slot] : 0;
      if (is_counted)
        tables_.places[choice] = static_cast<std::uint16_t>(before + static_cast<std::uint32_t>(__popc(alike & lower)));
      __syncwarp();
      if (is_counted && alike >> lane_of_thread() == 1U)
        counts[slot] = static_cast<std::uint16_t>(before + static_cast<std::uint32_t>(__popc(alike)));
      __syncwarp();
    }
  }

  /// After all warps have counted and met: turns counts into sums. @return the rows of the thread's slot
  __device__ PlanSlotRows sum() {
    auto const thread = static_cast<std::int32_t>(threadIdx.x);
    TokenSums const token = look_at_token(thread);
    PlanSlotRows const rows = sum_warps(thread);
    std::uint64_t const tokens_up_to = inclusive_in_warp(token.bits());
    std::uint32_t const rows_up_to = inclusive_in_warp(rows.own | rows.arrived << 16);
    if (lane_of_thread() == kWarp - 1) {
      memory_.warp_sums[PlanBlockTables::warp()] = TokenSums(tokens_up_to);
      memory_.warp_rows[PlanBlockTables::warp()] = rows_up_to;
    }
    __syncthreads();
    std::uint64_t const tokens_before =
        before_warp(memory_.warp_sums[lane_of_thread()].bits()) + tokens_up_to - token.bits();
    std::uint32_t const rows_before =
        before_warp(memory_.warp_rows[lane_of_thread()]) + rows_up_to - (rows.own | rows.arrived << 16);
    start_slot(thread, rows, rows_before);
    start_token(thread, token, TokenSums(tokens_before));
    start_sent_block();
    __syncthreads();
    return rows;
  }

 private:
  /// @param of_lane the sum of the warp with this lane's number. @return the sum of the warps in front of this one
  template <typename T>
  [[nodiscard]] __device__ static T before_warp(T of_lane) {
    T const up_to = inclusive_in_warp(of_lane);
    return __shfl_sync(kAllLanes, up_to - of_lane, PlanBlockTables::warp());
  }

  /// @return what the thread's token counts; says where it goes
  __device__ TokenSums look_at_token(std::int32_t thread) {
    auto const [source, token] = tables_.token_of(thread);
    bool const is_token = source < tables_.shape.ranks;
    std::int32_t const* const slots = tables_.slots + thread * tables_.shape.columns;
    bool const is_own = is_token && source == tables_.rank;
    std::int32_t kept = 0;
    std::int32_t locals = 0;
    std::uint32_t ranks = 0;
    for (std::int32_t column = 0; is_token && column < tables_.shape.columns; ++column) {
      std::int32_t const slot = slots[column];
      if (slot < 0) continue;
      if (tables_.is_local(slot)) ++locals;
      if (!is_own) continue;
      ++kept;
      ranks |= 1U << memory_.rank_of_slot[slot];
    }
    for (std::int32_t rank = 0; rank < tables_.shape.ranks; ++rank) {
      unsigned const tokens = __ballot_sync(kAllLanes, (ranks >> rank & 1U) != 0);
      if (lane_of_thread() == 0) memory_.goes_to[rank][PlanBlockTables::warp()] = tokens;
    }
    if (is_token) count_source(source, token, slots);
    std::uint32_t const peers = ranks & ~(1U << tables_.rank);
    return {kept, __popc(ranks), __popc(peers), locals};
  }

  /// The last token of a source tells how many there are; one that announced nothing is an error, named by its peers.
  __device__ void count_source(std::int32_t source, std::int32_t token, std::int32_t const* slots) {
    if (token == 0 && slots[0] == kNoSource && source != tables_.rank)
      raise_plan_error(error_, PlanError::other_setup, static_cast<std::uint64_t>(source));
    bool const is_last = token + 1 == tables_.shape.tokens || slots[tables_.shape.columns] < kDroppedChoice;
    if (slots[0] >= kDroppedChoice && is_last) memory_.tokens[source] = token + 1;
  }

  /// Turns the warps' counts of the thread's slot into what stands in front of each. @return the slot's rows
  __device__ PlanSlotRows sum_warps(std::int32_t slot) {
    if (slot >= tables_.shape.slots) return {};
    std::uint32_t rows[kPlanBlockWarps];
#pragma unroll
    for (std::int32_t warp = 0; warp < kPlanBlockWarps; ++warp)
      rows[warp] = tables_.counts[warp * tables_.pitch + slot];
    std::int32_t const first_own = tables_.rank * tables_.warps;
    std::uint32_t sum = 0;
    std::uint32_t own_before = 0;
    std::uint32_t own_end = 0;
#pragma unroll
    for (std::int32_t warp = 0; warp < kPlanBlockWarps; ++warp) {
      if (warp == first_own) own_before = sum;
      tables_.counts[warp * tables_.pitch + slot] = static_cast<std::uint16_t>(sum);
      sum += rows[warp];
      if (warp == first_own + tables_.warps - 1) own_end = sum;
    }
    memory_.own_before[slot] = static_cast<std::uint16_t>(own_before);
    return {own_end - own_before, tables_.is_local(slot) ? sum : 0};
  }

  __device__ void start_slot(std::int32_t slot, PlanSlotRows const& rows, std::uint32_t before) {
    if (slot == tables_.shape.slots - 1)
      memory_.first_own[tables_.shape.slots] = static_cast<std::uint16_t>((before & 0xffffU) + rows.own);
    if (slot >= tables_.shape.slots) return;
    memory_.first_own[slot] = static_cast<std::uint16_t>(before & 0xffffU);
    memory_.first_arrived[slot] = static_cast<std::uint16_t>(before >> 16);
  }

  __device__ void start_token(std::int32_t thread, TokenSums const& token, TokenSums const& before) {
    memory_.before_token[thread] = before;
    if (thread == kPlanBlockThreads - 1) {
      memory_.all = TokenSums(before.bits() + token.bits());
      memory_.received_start[tables_.shape.ranks] = memory_.all.received();
      memory_.arrived_start[tables_.shape.ranks] = memory_.all.locals();
    }
    auto const [source, of_source] = tables_.token_of(thread);
    if (of_source != 0 || source >= tables_.shape.ranks) return;
    memory_.received_start[source] = before.received();
    memory_.arrived_start[source] = before.locals();
  }

  /// The warp of a rank's number: the rank's block of rows to send.
  __device__ void start_sent_block() {
    if (PlanBlockTables::warp() >= tables_.shape.ranks) return;
    auto const rows_of = [&](std::int32_t rank) {
      return static_cast<std::uint32_t>(__popc(memory_.goes_to[rank][lane_of_thread()]));
    };
    std::uint32_t in_front = 0;
    for (std::int32_t rank = 0; rank < PlanBlockTables::warp(); ++rank) in_front += rows_of(rank);
    std::uint32_t const own = rows_of(PlanBlockTables::warp());
    std::uint32_t const up_to = inclusive_in_warp(own);
    std::uint32_t const start = __shfl_sync(kAllLanes, inclusive_in_warp(in_front), kWarp - 1);
    memory_.sent_before[PlanBlockTables::warp()][lane_of_thread()] = static_cast<std::uint16_t>(up_to - own);
    if (lane_of_thread() != kWarp - 1) return;
    memory_.sent_start[PlanBlockTables::warp()] = static_cast<std::int32_t>(start);
    if (PlanBlockTables::warp() == tables_.shape.ranks - 1)
      memory_.sent_start[tables_.shape.ranks] = static_cast<std::int32_t>(start + up_to);
  }

  PlanBlockTables const& tables_;
  PlanBlockMemory& memory_;
  std::int32_t const* rank_of_slot_;
  unsigned long long* error_;
};

}  // namespace switchyard::cuda
