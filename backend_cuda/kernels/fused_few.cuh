// SPDX-License-Identifier: Apache-2.0
/// FewRows: one direction of the fused path where rows are few and waits are all that counts. A block knows from its
/// number which row it produces and which it consumes, so that it loads what both need at once; its last warp, the
/// courier, waits for stores to reach the peers and for rows to arrive while the others work.
///
/// A courier waits for a row only when every row to produce is claimed, by blocks that run and do not wait before they
/// have produced it: no number of resident blocks and no order of starting them can deadlock. A row whose block has
/// not started is taken over.
#pragma once

#include "fused_agreement.cuh"
#include "fused_close.cuh"

namespace switchyard::cuda {

inline constexpr int kFewRanks = 32;  ///< a lane of the courier each
inline constexpr unsigned kCourierThreads = 32;

/// Of a block.
struct FewShared {
  std::byte* peers[kFewRanks];
  std::int64_t next;  ///< row to produce, -1: none is left
  bool is_mine;       ///< the row of the block's number
  bool has_arrived;   ///< what the row to consume needs
  bool is_last;
};

__device__ inline bool is_courier() {
  return threadIdx.x >= blockDim.x - kCourierThreads;
}
__device__ inline std::int64_t lane_of_courier() {
  return threadIdx.x % kCourierThreads;
}
/// The threads that move rows.
__device__ inline std::int64_t workers_of_block() {
  return blockDim.x - kCourierThreads;
}

/// `Work` gives num_produce(), num_consume() and, for one row at a time and all workers, look_at_produced(row),
/// look_at_consumed(row): loads ahead; send(row, generation): stores for peers; keep(row): what is not for peers;
/// expect(row): whatever else is wanted before the row arrives; consume(row, generation). For the lanes of the courier:
/// tag(row, generation): what marks a sent row, null: nothing; slot(row): what a row to consume needs, negative:
/// nothing.
template <typename Work>
class FewRows {
 public:
  __device__ FewRows(FusedCall const& call, Work& work, FewShared& shared)
      : call_(call), work_(work), shared_(shared), own_(static_cast<std::int64_t>(blockIdx.x) - 1) {}

  /// All threads of a block. The first block has no row: it tells peers which operation this is, and compares what they
  /// tell.
  __device__ void run() {
    FusedState const state = load_state(call_.windows);
    bool const has_row = own_ >= 0;
    if (has_row) look();
    bool const is_fine = __syncthreads_or(state.error != 0 ? 1 : 0) == 0;
    if (is_fine && has_row) run_rows(state.generation);
    if (is_fine && !has_row) {
      send_signals(call_, state.generation, whole_block());
      await_signals(call_, state.generation, whole_block());
    }
    close_operation(call_, work_, state.generation, true, shared_.is_last, static_cast<std::int64_t>(gridDim.x) - 1);
  }

 private:
  /// Loads that wait for nothing.
  __device__ void look() {
    if (!is_courier()) {
      work_.look_at_produced(own_);
      work_.look_at_consumed(own_);
      return;
    }
    FusedWindows const& windows = call_.windows;
    if (lane_of_courier() < windows.world) shared_.peers[lane_of_courier()] = windows.peers[lane_of_courier()];
    if (lane_of_courier() == 0) shared_.is_mine = claim(own_);
  }

  __device__ void run_rows(std::uint64_t generation) {
    std::int64_t next = shared_.is_mine && own_ < work_.num_produce() ? own_ : -1;
    std::int64_t row = own_;
    bool const consumes = row < work_.num_consume();
    std::int32_t const slot = is_courier() && consumes ? work_.slot(row) : -1;
    bool is_first = true;
    do {
      std::uint64_t* const tag = is_courier() && next >= 0 ? work_.tag(next, generation) : nullptr;
      if (!is_courier() && next >= 0) work_.send(next, generation);
      __syncthreads();
      if (is_courier()) deliver(tag, slot, generation);
      if (!is_courier() && next >= 0) work_.keep(next);
      if (!is_courier() && is_first && consumes) work_.expect(row);
      is_first = false;
      __syncthreads();
      next = shared_.next;
      if (!is_courier() && next >= 0) work_.look_at_produced(next);
    } while (next >= 0);
    while (row < work_.num_consume() && shared_.has_arrived) {
      if (!is_courier()) work_.consume(row, generation);
      row += static_cast<std::int64_t>(gridDim.x) - 1;
      if (row < work_.num_consume()) receive_next(row, generation);
    }
  }

  /// The courier: marks what was sent, takes over a row that nobody has begun, or else waits for the block's own.
  __device__ void deliver(std::uint64_t* tag, std::int32_t slot, std::uint64_t generation) {
    if (tag != nullptr) store_release(tag, generation);
    std::int64_t const open = claim_open();
    if (lane_of_courier() == 0) shared_.next = open;
    if (open < 0) await(slot, generation);
  }

  /// One thread.
  __device__ bool claim(std::int64_t row) const { return atomicExch(&call_.windows.claims[row], 1U) == 0; }

  /// The courier. @return a row that it claimed, -1: all are claimed
  __device__ std::int64_t claim_open() const {
    std::int64_t const rows = work_.num_produce();
    auto const* const claims = reinterpret_cast<uint4 const*>(call_.windows.claims);
    bool is_open = false;
    for (std::int64_t first = lane_of_courier() * 4; first < rows; first += kCourierThreads * 4) {
      uint4 const four = __ldcg(claims + first / 4);  // what was claimed stays so until all blocks have ended
      is_open = is_open || four.x == 0 || (first + 1 < rows && four.y == 0) || (first + 2 < rows && four.z == 0) ||
                (first + 3 < rows && four.w == 0);
    }
    return __any_sync(0xffffffffU, is_open) ? claim_first_open(rows) : -1;
  }
  __device__ std::int64_t claim_first_open(std::int64_t rows) const {
    for (std::int64_t first = 0; first < rows; first += kCourierThreads) {
      std::int64_t const row = first + lane_of_courier();
      bool const is_open = row < rows && *static_cast<unsigned volatile*>(&call_.windows.claims[row]) == 0;
      for (unsigned open = __ballot_sync(0xffffffffU, is_open); open != 0; open &= open - 1) {
        std::int64_t const candidate = first + __ffs(static_cast<int>(open)) - 1;
        bool const is_mine = lane_of_courier() == 0 && claim(candidate);
        if (__any_sync(0xffffffffU, is_mine)) return candidate;
      }
    }
    return -1;
  }

  /// The courier: a slot per lane.
  __device__ void await(std::int32_t slot, std::uint64_t generation) {
    FusedWindows const& windows = call_.windows;
    bool const is_fine = slot < 0 || await_word(call_, tag_of(windows, windows.own, generation, slot), generation,
                                                static_cast<int>(slot / windows.capacity));
    bool const all_fine = __all_sync(0xffffffffU, is_fine);
    if (lane_of_courier() == 0) shared_.has_arrived = all_fine;
  }

  /// A row behind the block's first.
  __device__ void receive_next(std::int64_t row, std::uint64_t generation) {
    __syncthreads();
    if (is_courier())
      await(work_.slot(row), generation);
    else {
      work_.look_at_consumed(row);
      work_.expect(row);
    }
    __syncthreads();
  }

  FusedCall const& call_;
  Work& work_;
  FewShared& shared_;
  std::int64_t own_;
};

}  // namespace switchyard::cuda
