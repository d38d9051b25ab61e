// SPDX-License-Identifier: Apache-2.0
/// plan_step(): the plan of a small step by one block: routes choices to slots, announces them to every peer, plans in
/// shared memory and writes the lists of the fused path.
#pragma once

#include "fused_agreement.cuh"
#include "fused_block_lists.cuh"
#include "fused_plan_block.hpp"
#include "plan_block.cuh"
#include "plan_block_lists.cuh"
#include "plan_close.cuh"
#include "plan_slot.cuh"

namespace switchyard::cuda {

inline constexpr int kChoiceBits = 16;
inline constexpr std::uint64_t kChoiceMask = (std::uint64_t{1} << kChoiceBits) - 1;
static_assert(kPlanBlockThreads <= (1 << kChoiceBits) + kNoSource, "a slot is none of the marks, cut to its bits");

/// What no step changes, loaded while the kernel before still runs.
struct StepTables {
  std::byte* peers[kPlanBlockWarps];
  std::int16_t only_slot[kPlanBlockThreads];  ///< of an expert, negative: it has not just one, or there is no such one
};
__device__ inline void load_tables(FusedPlanBlockParams const& params, StepTables& tables) {
  auto const thread = static_cast<std::int32_t>(threadIdx.x);
  if (thread < params.call.windows.world) tables.peers[thread] = params.call.windows.peers[thread];
  std::int32_t slot = -1;
  if (thread < params.routing.experts) {
    std::int32_t const first = params.routing.replica_begin[thread];
    if (params.routing.replica_begin[thread + 1] - first == 1) slot = params.routing.replica_slots[first];
  }
  tables.only_slot[thread] = static_cast<std::int16_t>(slot);
}

/// Choices on their way: this rank's to all, every source's to shared memory.
class ChoiceExchange {
 public:
  /// @param withholds this rank had an error in an earlier step and announces nothing
  __device__ ChoiceExchange(FusedPlanBlockParams const& params, StepTables const& tables, BlockPlan& plan,
                            FusedState const& state, FusedPromise const& first, bool withholds)
      : params_(params),
        tables_(tables),
        windows_(params.call.windows),
        plan_(plan),
        generation_(state.generation),
        first_(first),
        withholds_(withholds) {}

  /// One warp of another source's has time to agree with the peers.
  __device__ static bool speaks(FusedPlanBlockParams const& params, PlanBlockPart const& part) {
    FusedWindows const& windows = params.call.windows;
    return part.source == (windows.rank + 1) % windows.world && part.begin == 0;
  }
  __device__ static FusedSpeakers lanes() { return {threadIdx.x % kWarp, kWarp}; }

  /// All lanes of a warp. @return whether this lane got what it waited for
  __device__ bool take(PlanBlockPart const& part) {
    if (part.source >= params_.shape.ranks) return true;
    if (part.source == windows_.rank) {
      route(part);
      return true;
    }
    if (speaks(params_, part)) send_signals(params_.call, generation_, lanes(), first_);
    // Signals first: choices never come from a peer in another operation.
    bool const agrees = !speaks(params_, part) || await_signals(params_.call, generation_, lanes(), first_);
    return agrees && receive(part);
  }

 private:
  __device__ void route(PlanBlockPart const& part) {
    std::int64_t const count = params_.routing.tokens * params_.routing.columns;
    for (std::int32_t i = part.begin + lane_of_thread(); i < part.end; i += kWarp) {
      std::int32_t slot = i < count ? slot_at(i) : kNoToken;
      if (withholds_) slot = kNoSource;
      std::uint64_t const word = generation_ << kChoiceBits | (static_cast<std::uint64_t>(slot) & kChoiceMask);
      for (int turn = 1; turn < windows_.world; ++turn) {
        int const peer = (windows_.rank + turn) % windows_.world;
        store_relaxed(words_of(windows_, tables_.peers[peer], generation_, windows_.rank) + i, word);
      }
      plan_.put(part, i, slot);
    }
  }

  [[nodiscard]] __device__ std::int32_t slot_at(std::int32_t i) const {
    auto const only = [&](std::int32_t expert) {
      return expert < kPlanBlockThreads ? static_cast<std::int32_t>(tables_.only_slot[expert]) : -1;
    };
    return slot_of(params_.routing, i, params_.routing.ids[i], only);
  }

  __device__ bool receive(PlanBlockPart const& part) {
    std::uint64_t const* const words = words_of(windows_, windows_.own, generation_, part.source);
    bool is_fine = true;
    for (std::int32_t i = part.begin + lane_of_thread(); is_fine && i < part.end; i += kWarp) {
      std::uint64_t word = 0;
      is_fine = await_peer(params_.call, part.source, [&] {
        word = load_relaxed(words + i);
        return word >> kChoiceBits == (generation_ & ~std::uint64_t{0} >> kChoiceBits);
      });
      plan_.put(part, i, slot_in(word));
    }
    return is_fine;
  }

  /// Marks are negative numbers cut to the bits of a slot.
  [[nodiscard]] __device__ static std::int32_t slot_in(std::uint64_t word) {
    auto const bits = static_cast<std::int32_t>(word & kChoiceMask);
    return bits > static_cast<std::int32_t>(kChoiceMask) + kNoSource ? bits - (1 << kChoiceBits) : bits;
  }

  FusedPlanBlockParams const& params_;
  StepTables const& tables_;
  FusedWindows const& windows_;
  BlockPlan& plan_;
  std::uint64_t generation_;
  FusedPromise first_;
  bool withholds_;
};

/// As if no rank had a token.
__device__ inline void take_nothing(BlockPlan& plan, PlanBlockPart const& part) {
  plan.clear();
  for (std::int32_t i = part.begin + lane_of_thread(); i < part.end; i += kWarp) plan.put(part, i, kNoToken);
}

/// Ends the operation; an error of the plan fails the windows.
__device__ inline void close_plan(FusedPlanBlockParams const& params, PlanBlockTables const& tables,
                                  std::uint64_t generation, bool has_failed) {
  FusedWindows const& windows = params.call.windows;
  bool const is_bad = tables.memory.error != 0;
  if (threadIdx.x == 0 && is_bad) fail(windows, FusedError::bad_plan, windows.rank);
  if (is_bad || has_failed) send_failure(windows);
  if (threadIdx.x == 0) windows.progress->generation = generation + 1;
}

/// All threads of a block. @param memory plan_block_bytes(), shared, 16-byte aligned @param step shared
__device__ inline void plan_step(FusedPlanBlockParams const& params, void* memory, StepTables& step) {
  PlanBlockTables const tables(params.shape, params.finish, memory);
  BlockPlan plan(tables, params.sorts, params.finish);
  PlanBlockPart const part = tables.part();
  plan.clear();
  load_tables(params, step);
  __syncthreads();
  await_kernel_before();
  let_next_kernel_come();
  FusedState const state = load_state(params.call.windows);
  bool const withholds = *static_cast<unsigned long long volatile*>(params.finish.error + 1) != 0;
  FusedPromise const first =
      ChoiceExchange::speaks(params, part) ? before_signals(params.call, ChoiceExchange::lanes()) : FusedPromise{};
  bool const is_fine = state.error == 0 && ChoiceExchange(params, step, plan, state, first, withholds).take(part);
  plan.count(part);
  bool const has_failed = __syncthreads_or(is_fine ? 0 : 1) != 0;
  if (has_failed) {
    take_nothing(plan, part);
    plan.count(part);
    __syncthreads();
  }
  PlanSlotRows const rows = plan.sum();
  BlockLists const lists(params.lists, tables);
  lists.place_token();
  BlockPlanLists(tables, params.sorts, params.finish)
      .write(rows,
             [&](std::int32_t listed, std::int32_t row, std::int32_t column) { lists.place_row(listed, row, column); });
  close_plan(params, tables, state.generation, has_failed);
}

}  // namespace switchyard::cuda
