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
  std::int64_t choices[kPlanBlockWarps];      ///< that every rank announces to every other
  std::int16_t only_slot[kPlanBlockThreads];  ///< of an expert, negative: it has not just one, or there is no such one
  bool is_refused;                            ///< a peer's signal says another operation
};
__device__ inline void load_tables(FusedPlanBlockParams const& params, StepTables& tables) {
  auto const thread = static_cast<std::int32_t>(threadIdx.x);
  if (thread == 0) tables.is_refused = false;
  if (thread < params.call.windows.world) {
    tables.peers[thread] = params.call.windows.peers[thread];
    tables.choices[thread] = params.call.sent[thread];
  }
  std::int32_t slot = -1;
  if (thread < params.routing.experts) {
    std::int32_t const first = params.routing.replica_begin[thread];
    if (params.routing.replica_begin[thread + 1] - first == 1) slot = params.routing.replica_slots[first];
  }
  tables.only_slot[thread] = static_cast<std::int16_t>(slot);
}

/// The call with what is read often in shared memory.
__device__ inline FusedCall near_call(FusedPlanBlockParams const& params, StepTables const& tables) {
  FusedCall call = params.call;
  call.windows.peers = tables.peers;
  call.sent = tables.choices;
  call.expected = tables.choices;
  return call;
}

/// Choices on their way: this rank's to all, every source's to shared memory. Who has sent its choices has begun this
/// operation; that its signal says the same is compared when there is time.
class ChoiceExchange {
 public:
  __device__ ChoiceExchange(FusedPlanBlockParams const& params, StepTables const& tables, PlanBlockPart const& part)
      : params_(params), tables_(tables), call_(near_call(params, tables)), windows_(call_.windows), part_(part) {}

  /// Starts loading what route() needs.
  __device__ void prefetch() const {
    if (part_.source != windows_.rank) return;
    for (std::int64_t i = part_.begin + lane_of_thread(); i < last_choice(); i += kWarp) {
      if (params_.routing.ids != nullptr) prefetch_near(params_.routing.ids + i);
      if (params_.routing.weights != nullptr) prefetch_near(params_.routing.weights + i);
    }
  }

  /// All lanes of a warp. @param withholds this rank had an error in an earlier step and announces nothing
  /// @return whether this lane got what it waited for
  __device__ bool take(BlockPlan& plan, std::uint64_t generation, bool withholds) {
    generation_ = generation;
    if (part_.source >= params_.shape.ranks) return true;
    if (part_.source == windows_.rank) {
      route(plan, withholds);
      return true;
    }
    return (!speaks() || speak()) && receive(plan);
  }

  /// All lanes of a warp, when there is time. @return whether this lane found nothing wrong
  __device__ bool compare() const {
    return !speaks() || has_compared_ || await_signals(call_, generation_, lanes_of_warp());
  }

 private:
  [[nodiscard]] __device__ static FusedSpeakers lanes_of_warp() { return {threadIdx.x % kWarp, kWarp}; }
  /// One warp of another source's: it has time to agree with the peers.
  [[nodiscard]] __device__ bool speaks() const {
    return part_.source == (windows_.rank + 1) % windows_.world && part_.begin == 0;
  }
  [[nodiscard]] __device__ std::int64_t last_choice() const {
    std::int64_t const count = params_.routing.tokens * params_.routing.columns;
    return part_.end < count ? part_.end : count;
  }
  [[nodiscard]] __device__ bool is_new(std::uint64_t word) const {
    return word >> kChoiceBits == (generation_ & ~std::uint64_t{0} >> kChoiceBits);
  }

  /// Signals are compared at once where they come before choices: none may come from another operation.
  __device__ bool speak() {
    send_signals(call_, generation_, lanes_of_warp());
    int const peer = static_cast<int>(threadIdx.x % kWarp);
    bool has_signal = false;
    bool is_fine = true;
    if (peer < windows_.world && peer != windows_.rank) {
      std::uint64_t const* const word = words_of(windows_, windows_.own, generation_, peer);
      std::uint64_t const* const signal = &signal_of(windows_, windows_.own, generation_, peer)->generation;
      is_fine = await_peer(call_, peer, [&] {
        if (is_new(load_relaxed(word))) return true;
        has_signal = load_acquire(signal) == generation_;
        return has_signal;
      });
    }
    has_compared_ = __any_sync(kAllLanes, has_signal) != 0;
    if (has_compared_ && is_fine) is_fine = await_signals(call_, generation_, lanes_of_warp());
    return is_fine;
  }

  __device__ void route(BlockPlan& plan, bool withholds) {
#pragma unroll 2
    for (std::int32_t i = part_.begin + lane_of_thread(); i < part_.end; i += kWarp) {
      std::int32_t slot = i < last_choice() ? slot_at(i) : kNoToken;
      if (withholds) slot = kNoSource;
      std::uint64_t const word = generation_ << kChoiceBits | (static_cast<std::uint64_t>(slot) & kChoiceMask);
      for (int turn = 1; turn < windows_.world; ++turn) {
        int const peer = (windows_.rank + turn) % windows_.world;
        store_relaxed(words_of(windows_, windows_.peers[peer], generation_, windows_.rank) + i, word);
      }
      plan.put(part_, i, slot);
    }
  }

  [[nodiscard]] __device__ std::int32_t slot_at(std::int32_t i) const {
    auto const only = [&](std::int32_t expert) {
      return expert < kPlanBlockThreads ? static_cast<std::int32_t>(tables_.only_slot[expert]) : -1;
    };
    return slot_of(params_.routing, i, expert_of(params_.routing, i), only);
  }

  __device__ bool receive(BlockPlan& plan) {
    std::uint64_t const* const words = words_of(windows_, windows_.own, generation_, part_.source);
    bool is_fine = true;
    for (std::int32_t i = part_.begin + lane_of_thread(); is_fine && i < part_.end; i += kWarp) {
      std::uint64_t word = 0;
      is_fine = await_peer(call_, part_.source, [&] {
        word = load_relaxed(words + i);
        return is_new(word);
      });
      plan.put(part_, i, slot_in(word));
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
  FusedCall call_;
  FusedWindows const& windows_;
  PlanBlockPart part_;
  std::uint64_t generation_ = 0;
  bool has_compared_ = false;
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
  plan.clear();
  load_tables(params, step);
  __syncthreads();
  await_kernel_before();
  let_next_kernel_come();
  PlanBlockPart const part = tables.part();
  ChoiceExchange exchange(params, step, part);
  exchange.prefetch();
  FusedState const state = load_state(params.call.windows);
  bool const withholds = *static_cast<unsigned long long volatile*>(params.finish.error + 1) != 0;
  bool const is_fine = state.error == 0 && exchange.take(plan, state.generation, withholds);
  plan.count(part);
  bool const has_failed = __syncthreads_or(is_fine ? 0 : 1) != 0;
  if (has_failed) {
    take_nothing(plan, part);
    plan.count(part);
    __syncthreads();
  }
  PlanSlotRows const rows = plan.sum();
  if (!has_failed && !exchange.compare()) step.is_refused = true;
  BlockLists const lists(params.lists, tables);
  lists.place_token();
  BlockPlanLists(tables, params.sorts, params.finish)
      .write(rows,
             [&](std::int32_t listed, std::int32_t row, std::int32_t column) { lists.place_row(listed, row, column); });
  close_plan(params, tables, state.generation, has_failed || step.is_refused);
}

}  // namespace switchyard::cuda
