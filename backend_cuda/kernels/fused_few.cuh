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
  FusedState state;
  std::int64_t next;  ///< row to produce, -1: none is left
  bool is_mine;       ///< the row of the block's number
  bool has_arrived;   ///< what the row to consume needs
  bool clears;        ///< came last, and some block has failed
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
    if (is_courier() && lane_of_courier() == 0) shared_.state = load_state(call_.windows);
    bool const has_row = own_ >= 0;
    FusedPromise const first = has_row ? FusedPromise{} : before_signals(call_, whole_block());
    if (has_row) look();
    __syncthreads();
    FusedState const state = shared_.state;
    if (state.error != 0)
      come(state.generation, false);
    else if (has_row)
      run_rows(state.generation);
    else
      agree(state.generation, first);
    __syncthreads();
    leave(state.generation);
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
    bool const consumes = own_ < work_.num_consume();
    std::int32_t const slot = is_courier() && consumes ? work_.slot(own_) : -1;
    bool is_first = true;
    do {
      std::uint64_t* const tag = is_courier() && next >= 0 ? work_.tag(next, generation) : nullptr;
      if (!is_courier() && next >= 0) work_.send(next, generation);
      __syncthreads();
      if (is_courier()) deliver(tag, slot, generation);
      if (!is_courier() && next >= 0) work_.keep(next);
      if (!is_courier() && is_first && consumes) work_.expect(own_);
      is_first = false;
      __syncthreads();
      next = shared_.next;
      if (!is_courier() && next >= 0) work_.look_at_produced(next);
    } while (next >= 0);
    if (is_courier())
      come(generation, shared_.has_arrived);
    else if (consumes && shared_.has_arrived)
      work_.consume(own_, generation);
  }

  __device__ void agree(std::uint64_t generation, FusedPromise const& first) {
    send_signals(call_, generation, whole_block(), first);
    bool const is_fine = __syncthreads_or(await_signals(call_, generation, whole_block(), first) ? 0 : 1) == 0;
    come(generation, is_fine);
  }

  /// The courier, while others consume: nothing that this block waits for is open, and it looks at claims no more. Who
  /// comes last ends the operation, if no block has failed: nobody starts the next one before every peer has begun this
  /// one, so that all have finished the one before, whose half of the windows the next overwrites.
  __device__ void come(std::uint64_t generation, bool is_fine) {
    if (!is_courier()) return;
    constexpr unsigned kFailed = 1U << 16;  // in front of how many have come
    static_assert(kMostClaims + 1 < kFailed);
    unsigned all = 0;
    if (lane_of_courier() == 0) all = atomicAdd(&call_.windows.progress->finished, is_fine ? 1U : 1U + kFailed);
    all = __shfl_sync(0xffffffffU, all, 0) + (is_fine ? 1U : 1U + kFailed);
    bool const is_last = all % kFailed == gridDim.x;
    if (lane_of_courier() == 0) shared_.clears = is_last && all >= kFailed;
    if (is_last && all < kFailed) end(generation);
  }
  __device__ void end(std::uint64_t generation) {
    FusedProgress& progress = *call_.windows.progress;
    for (std::int64_t row = lane_of_courier(); row < static_cast<std::int64_t>(gridDim.x) - 1; row += kCourierThreads)
      call_.windows.claims[row] = 0;
    if (lane_of_courier() != 0) return;
    progress.finished = 0;
    progress.generation = generation + 1;
  }

  /// All threads of a block, met: says that it stores no more, so that who came last can clear what was written.
  __device__ void leave(std::uint64_t generation) {
    std::uint64_t* const left = call_.windows.left;
    if (!shared_.clears) {
      if (threadIdx.x != 0) return;
      __threadfence();
      *static_cast<std::uint64_t volatile*>(left + blockIdx.x) = generation;
      return;
    }
    for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x)
      while (block != blockIdx.x && load_acquire(left + block) != generation) {
      }
    __syncthreads();
    send_failure(call_.windows);
    work_.clear();
    if (is_courier()) end(generation);
  }

  /// The courier: marks what was sent, takes over a row that nobody has begun, or else waits for the block's own.
  __device__ void deliver(std::uint64_t* tag, std::int32_t slot, std::uint64_t generation) {
    bool const sees_open = sees_open_claim();  // under way while stores are fenced
    if (tag != nullptr) store_release(tag, generation);
    std::int64_t const open = __any_sync(0xffffffffU, sees_open) ? claim_first_open(work_.num_produce()) : -1;
    if (lane_of_courier() == 0) shared_.next = open;
    if (open < 0) await(slot, generation);
  }

  /// One thread.
  __device__ bool claim(std::int64_t row) const { return atomicExch(&call_.windows.claims[row], 1U) == 0; }

  /// A lane of the courier. What was claimed stays so until all blocks have come.
  __device__ bool sees_open_claim() const {
    std::int64_t const rows = work_.num_produce();
    auto const* const claims = reinterpret_cast<uint4 const*>(call_.windows.claims);
    bool is_open = false;
    for (std::int64_t first = lane_of_courier() * 4; first < rows; first += kCourierThreads * 4) {
      uint4 const four = __ldcg(claims + first / 4);
      is_open = is_open || four.x == 0 || (first + 1 < rows && four.y == 0) || (first + 2 < rows && four.z == 0) ||
                (first + 3 < rows && four.w == 0);
    }
    return is_open;
  }
  /// The courier. @return a row that it claimed, -1: all are claimed
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

  FusedCall const& call_;
  Work& work_;
  FewShared& shared_;
  std::int64_t own_;
};

}  // namespace switchyard::cuda
