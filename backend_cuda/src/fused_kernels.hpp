// SPDX-License-Identifier: Apache-2.0
/// Launchers of the fused path: rows stored into peers' windows, the meeting of all ranks, and what reads a window.
///
/// A window holds two halves of `world * capacity` slots. Operation n, counted in device memory so that replays of a
/// graph count too, writes half n % 2 of its peers, meets all ranks, then reads half n % 2 of its own. A rank that
/// meets for n has read everything of n - 1, so nobody who passed that meeting can overwrite what is still needed: two
/// halves and one meeting per operation suffice.
#pragma once

#include <nccl.h>

#include <cstddef>
#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

/// What a rank tells each peer when its stores of an operation are done. The generation is written last.
struct alignas(16) FusedSignal {
  std::uint64_t generation;
  std::uint64_t digest;
  std::uint64_t rows;
  std::uint64_t reserved;
};

/// The windows as kernels see them.
struct FusedWindows {
  std::byte* const* peers;    ///< [world] every rank's window, in this rank's addresses
  std::byte* own;             ///< this rank's window
  std::uint64_t* generation;  ///< of the operation in progress; the meeting advances it
  unsigned long long* error;  ///< sticky: 0, or kind << 32 | peer
  std::int64_t slots_offset;  ///< from a window's start to its first half
  std::int64_t half_bytes;
  std::int64_t slot_bytes;
  std::int64_t weights_offset;  ///< from a slot's start to the weights that travel with its row
  std::int32_t rank;
  std::int32_t world;
};
enum class FusedError : std::uint32_t { none, timeout, other_call, other_rows };

/// How many ranks of a communicator reach each other by loads and stores: asks NCCL for a device communicator.
class LoadStoreTeam {
 public:
  /// Issues the question; the answer is there when the communicator has no work in progress.
  explicit LoadStoreTeam(ncclComm* comm);
  ~LoadStoreTeam();
  LoadStoreTeam(LoadStoreTeam const&) = delete;
  LoadStoreTeam& operator=(LoadStoreTeam const&) = delete;
  [[nodiscard]] ncclResult_t issued() const noexcept { return issued_; }
  [[nodiscard]] int size() const noexcept;

 private:
  struct Answer;
  ncclComm* comm_;
  Answer* answer_;
  ncclResult_t issued_;
};

/// Writes every rank's window address, as rank order has them, to `peers`. Device memory.
void launch_window_pointers(ncclWindow_vidmem* window, int world, std::byte** peers, StreamView stream);

/// Loads the kernels before the first step: one that is loaded while a meeting spins may wait for it under a lock that
/// another rank of the same process needs. @throws Error{cuda}
void load_fused_meet();
void load_fused_rows();
void load_fused_sums();

/// Remote rows of this rank's tokens to their slots, and its own received rows to their places.
struct FusedStoreParams {
  FusedWindows windows;
  void const* tokens;
  float const* weights;  ///< [T, columns]
  std::int64_t columns;
  std::int64_t row_bytes;          ///< a multiple of 16
  std::int32_t const* sent_token;  ///< [num_sent]
  std::int32_t const* sent_to;     ///< [num_sent]
  std::int32_t const* sent_slot;   ///< [num_sent] at the receiver
  std::int64_t num_sent;
  std::int32_t const* own_token;  ///< [num_own]
  std::int64_t const* own_begin;  ///< [num_own + 1] into places
  std::int64_t num_own;
  std::int32_t const* places;
  void* output;
};
/// All launchers: asynchronous in `stream`, no allocation, capturable. @throws Error{cuda} if the launch is refused.
void launch_fused_store(FusedStoreParams const& params, StreamView stream);

/// Tells all peers that this rank's stores are done and waits until all have said so; differences and a wait beyond the
/// deadline set the error word.
struct FusedMeetParams {
  FusedWindows windows;
  std::uint64_t digest;
  std::int64_t const* sent;      ///< [world] rows stored to each
  std::int64_t const* expected;  ///< [world] rows that each must have stored here
  std::uint64_t deadline_ns;
};
void launch_fused_meet(FusedMeetParams const& params, StreamView stream);

/// Received rows of peers to their places, zeros after an error.
struct FusedExpandParams {
  FusedWindows windows;
  std::int32_t const* slots;  ///< [num_received]; a negative one is this rank's own row, expanded before
  std::int64_t const* begin;  ///< [num_received + 1] into places
  std::int64_t num_received;
  std::int32_t const* places;
  void* output;
  std::int64_t row_bytes;
};
/// output[i] = the weight of term i: own weights, or those that came with its row.
struct FusedWeightsParams {
  FusedWindows windows;
  float const* own;
  std::int64_t const* own_index;  ///< [count] entry of `own`, or negative
  std::int32_t const* slots;      ///< [count] the slot of a remote row
  std::int32_t const* columns;    ///< [count] its weight's column
  float* output;
  std::int64_t count;
};
/// Rows and weights by one kernel: at few tokens a launch costs more than the weights.
void launch_fused_expand(FusedExpandParams const& rows, FusedWeightsParams const& weights, StreamView stream);

/// Sum s of a token's rows here, fp32 in list order, rounded to the rows' type into slot `slots[s]` of rank `to[s]`.
struct FusedPartialParams {
  FusedWindows windows;
  DType dtype;
  void const* rows;
  std::int64_t columns;
  std::int64_t const* term_begin;
  std::int64_t const* term_rows;
  float const* weights;
  std::int64_t num_sums;
  std::int32_t const* to;
  std::int32_t const* slots;
  std::int32_t const* order;  ///< [num_sums] in which sums are made, so that links and memory work at the same time
};
void launch_fused_partials(FusedPartialParams const& params, StreamView stream);

/// Token t is the fp32 sum of the partials in slots term_slots[i] of the own window, rounded once; zeros after an
/// error.
struct FusedJoinParams {
  FusedWindows windows;
  DType dtype;
  std::int64_t const* term_begin;
  std::int64_t const* term_slots;
  std::int64_t num_tokens;
  std::int64_t columns;
  void* output;
};
void launch_fused_join(FusedJoinParams const& params, StreamView stream);

}  // namespace switchyard::cuda
