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
/// Both by one load. By one thread of a block: a word that thousands of warps load at once takes microseconds.
__device__ inline FusedState load_state(FusedWindows const& windows) {
  FusedState state{};
  load_two(&windows.progress->generation, state.generation, state.error);
  return state;
}
/// The first failure stays.
__device__ inline void fail(FusedWindows const& windows, FusedError error, int peer) {
  std::uint64_t const operation = windows.progress->generation & kFusedGenerationMask;
  std::uint64_t const place = operation << kFusedPeerBits | (static_cast<std::uint64_t>(peer) & kFusedPeerMask);
  atomicCAS(&windows.progress->error, 0ULL, static_cast<unsigned long long>(error) << 32 | place);
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

/// Rows to and from one peer.
struct FusedPromise {
  std::int64_t sent = 0;
  std::int64_t expected = 0;
};
__device__ inline FusedPromise promise_of(FusedCall const& call, unsigned peer) {
  if (static_cast<std::int32_t>(peer) >= call.windows.world) return {};
  return {call.sent[peer], call.expected[peer]};
}
/// Ahead of signals: what the speaker tells its first peer, and whatever this rank did in earlier operations in front
/// of it. By the time that the operation's number is there, so is this.
__device__ inline FusedPromise before_signals(FusedCall const& call, FusedSpeakers const& speakers) {
  if (static_cast<std::int32_t>(speakers.thread) >= call.windows.world) return {};
  FusedPromise const first = promise_of(call, speakers.thread);
  fence_system();
  return first;
}

/// Tells every peer which operation this is. @param first from before_signals()
__device__ inline void send_signals(FusedCall const& call, std::uint64_t generation, FusedSpeakers const& speakers,
                                    FusedPromise const& first) {
  FusedWindows const& windows = call.windows;
  for_each_peer(speakers, windows.world, [&](int peer) {
    bool const is_first = static_cast<unsigned>(peer) == speakers.thread;
    std::int64_t const rows = is_first ? first.sent : call.sent[peer];
    FusedSignal* const there = signal_of(windows, windows.peers[peer], generation, windows.rank);
    store_pair(&there->generation, generation, call.digest);
    store_pair(&there->generation_of_rows, generation, static_cast<std::uint64_t>(rows));
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

/// Waits for the signal of every peer and compares it with what this rank's plan expects. @param first of the
/// speaker's first peer. @return whether this thread found nothing wrong
__device__ inline bool await_signals(FusedCall const& call, std::uint64_t generation, FusedSpeakers const& speakers,
                                     FusedPromise const& first) {
  FusedWindows const& windows = call.windows;
  bool is_fine = true;
  for_each_peer(speakers, windows.world, [&](int peer) {
    bool const is_first = static_cast<unsigned>(peer) == speakers.thread;
    std::int64_t const expected = is_first ? first.expected : call.expected[peer];
    FusedSignal const* const signal = signal_of(windows, windows.own, generation, peer);
    std::uint64_t digest = 0;
    std::uint64_t rows = 0;
    bool const has_come = await_peer(call, peer, [&] {
      std::uint64_t of_digest = 0;
      std::uint64_t of_rows = 0;
      load_pair(&signal->generation, of_digest, digest);
      load_pair(&signal->generation_of_rows, of_rows, rows);
      return of_digest == generation && of_rows == generation;
    });
    FusedError const found = !has_come || (digest == call.digest && rows == static_cast<std::uint64_t>(expected))
                                 ? FusedError::none
                             : digest != call.digest ? FusedError::other_call
                                                     : FusedError::other_rows;
    if (found != FusedError::none) fail(windows, found, peer);
    is_fine = is_fine && has_come && found == FusedError::none;
  });
  return is_fine;
}
/// All threads of a block.
__device__ inline bool await_signals(FusedCall const& call, std::uint64_t generation) {
  return await_signals(call, generation, whole_block(), promise_of(call, thread_of_block()));
}

}  // namespace switchyard::cuda
