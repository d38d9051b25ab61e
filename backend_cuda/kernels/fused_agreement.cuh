// SPDX-License-Identifier: Apache-2.0
/// How ranks of the fused path agree on an operation, wait for each other and learn of failures. A signal and a tag
/// carry the operation's number, so that one left over from an earlier operation is never taken for this one's.
#pragma once

#include "fused_window.cuh"

namespace switchyard::cuda {

__device__ inline unsigned thread_of_block() {
  return threadIdx.y * blockDim.x + threadIdx.x;
}
__device__ inline unsigned threads_of_block() {
  return blockDim.x * blockDim.y;
}

__device__ inline bool has_failed(FusedWindows const& windows) {
  return *static_cast<unsigned long long volatile*>(&windows.progress->error) != 0;
}
struct FusedState {
  std::uint64_t generation;
  std::uint64_t error;
};
/// Both by one load.
__device__ inline FusedState load_state(FusedWindows const& windows) {
  FusedState state{};
  load_two(&windows.progress->generation, state.generation, state.error);
  return state;
}
/// The first failure stays.
__device__ inline void fail(FusedWindows const& windows, FusedError error, int peer) {
  atomicCAS(&windows.progress->error, 0ULL, static_cast<unsigned long long>(error) << 32 | static_cast<unsigned>(peer));
}

/// Threads that share the peers among them: all of a block, or the lanes of one warp.
struct FusedSpeakers {
  unsigned thread;
  unsigned count;
};
__device__ inline FusedSpeakers whole_block() {
  return {thread_of_block(), threads_of_block()};
}
template <typename Act>
__device__ void for_each_peer(FusedSpeakers const& speakers, int world, Act const& act) {
  for (int peer = static_cast<int>(speakers.thread); peer < world; peer += static_cast<int>(speakers.count)) act(peer);
}

/// Tells every peer which operation this is, before any row of it.
__device__ inline void send_signals(FusedCall const& call, std::uint64_t generation, FusedSpeakers const& speakers) {
  FusedWindows const& windows = call.windows;
  for_each_peer(speakers, windows.world, [&](int peer) {
    FusedSignal* const there = signal_of(windows, windows.peers[peer], generation, windows.rank);
    there->digest = call.digest;
    there->rows = static_cast<std::uint64_t>(call.sent[peer]);
    store_release(&there->generation, generation);
  });
}

/// All threads of a block: tells every peer that nothing more comes from here.
__device__ inline void send_failure(FusedWindows const& windows) {
  for_each_peer(whole_block(), windows.world,
                [&](int peer) { store_release(failure_of(windows, windows.peers[peer], windows.rank), 1); });
}

/// One thread waits until has(). @return false after a failure here, of `peer`, or a timeout
template <typename Has>
__device__ bool await_peer(FusedCall const& call, int peer, Has const& has) {
  FusedWindows const& windows = call.windows;
  std::uint64_t const start = now_ns();
  while (!has()) {
    if (has_failed(windows)) return false;
    bool const peer_failed = load_acquire(failure_of(windows, windows.own, peer)) != 0;
    if (peer_failed && has()) return true;
    bool const late = now_ns() - start > call.deadline_ns;
    if (!peer_failed && !late) continue;
    fail(windows, peer_failed ? FusedError::peer_failed : FusedError::timeout, peer);
    return false;
  }
  return true;
}
/// Waits for `word` to become `generation`.
__device__ inline bool await_word(FusedCall const& call, std::uint64_t const* word, std::uint64_t generation,
                                  int peer) {
  return await_peer(call, peer, [&] { return load_acquire(word) == generation; });
}

/// Waits for the signal of every peer and compares it with what this rank's plan expects.
/// @return whether this thread found nothing wrong
__device__ inline bool await_signals(FusedCall const& call, std::uint64_t generation, FusedSpeakers const& speakers) {
  FusedWindows const& windows = call.windows;
  bool is_fine = true;
  for_each_peer(speakers, windows.world, [&](int peer) {
    FusedSignal const* const signal = signal_of(windows, windows.own, generation, peer);
    FusedError found = FusedError::none;
    if (!await_word(call, &signal->generation, generation, peer))
      is_fine = false;
    else if (signal->digest != call.digest)
      found = FusedError::other_call;
    else if (signal->rows != static_cast<std::uint64_t>(call.expected[peer]))
      found = FusedError::other_rows;
    if (found == FusedError::none) return;
    fail(windows, found, peer);
    is_fine = false;
  });
  return is_fine;
}

}  // namespace switchyard::cuda
