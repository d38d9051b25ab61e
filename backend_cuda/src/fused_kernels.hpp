// SPDX-License-Identifier: Apache-2.0
/// Launchers of the fused path: one kernel per direction, which stores rows into peers' windows, reads what peers
/// stored in its own, and agrees with them on what they do.
///
/// A window holds two halves of `world * capacity` slots. Operation n, counted in device memory so that replays of a
/// graph count too, writes half n % 2 of its peers and reads half n % 2 of its own. It begins with a signal to every
/// peer, marks every row that it stored with n, and ends only when all peers have begun n. Who has begun n has finished
/// n - 1, so nobody overwrites what is still needed: two halves and no meeting beside the rows suffice.
#pragma once

#include <nccl.h>

#include <cstddef>
#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

/// What a rank tells each peer at the start of an operation: pairs that are stored and loaded as one, so that each says
/// by itself whose operation's it is.
struct alignas(16) FusedSignal {
  std::uint64_t generation;
  std::uint64_t digest;
  std::uint64_t generation_of_rows;
  std::uint64_t rows;
  std::uint64_t failed;  ///< nonzero: the rank failed in some operation; only the first half's is used
  std::uint64_t reserved;
};

/// Where an operation of one rank stands, in its device memory.
struct alignas(16) FusedProgress {
  std::uint64_t generation;  ///< of the operation in progress; its last block advances it
  unsigned long long error;  ///< sticky: 0, or kind, operation and peer
  unsigned produced;         ///< items drawn by blocks
  unsigned consumed;
  unsigned finished;  ///< blocks that have; the upper 16 bits count those of few rows that have failed
  unsigned reserved;
};

/// Where rows are few, a block has one to produce and one to consume.
inline constexpr std::int64_t kMostClaims = 1024;

/// The windows as kernels see them.
struct FusedWindows {
  std::byte* const* peers;  ///< [world] every rank's window, in this rank's addresses
  std::byte* own;           ///< this rank's window
  FusedProgress* progress;
  unsigned* claims;     ///< [kMostClaims] of a few rows to produce: whether a block has begun one, 0 between kernels
  std::uint64_t* left;  ///< [kMostClaims + 1] the last operation of a few rows in which a block has stored all
  std::int64_t tags_offset;  ///< from a window's start to [2][world * capacity] u64: whose operation's row a slot holds
  std::int64_t words_offset;  ///< from a window's start to [2][world][words] u64: choices of small batches
  std::int64_t words;         ///< choices that a rank can announce by words
  std::int64_t slots_offset;  ///< from a window's start to its first half
  std::int64_t half_bytes;
  std::int64_t slot_bytes;
  std::int64_t weights_offset;  ///< from a slot's start to the weights that travel with its row
  std::int64_t capacity;        ///< slots per source rank in a half
  std::int32_t rank;
  std::int32_t world;
};
enum class FusedError : std::uint32_t { none, timeout, other_call, other_rows, peer_failed, bad_plan };

/// The error word: kind << 32, the number of the operation's generation modulo 2^22, and the peer in the lowest ten
/// bits.
inline constexpr unsigned kFusedPeerBits = 10;
inline constexpr std::uint64_t kFusedPeerMask = (std::uint64_t{1} << kFusedPeerBits) - 1;
inline constexpr std::uint64_t kFusedGenerationMask = (std::uint64_t{1} << (32 - kFusedPeerBits)) - 1;

/// What both directions tell and expect.
struct FusedCall {
  FusedWindows windows;
  std::uint64_t digest;
  std::int64_t const* sent;      ///< [world] rows stored to each
  std::int64_t const* expected;  ///< [world] rows that each must store here
  std::uint64_t deadline_ns;     ///< of every wait
};

/// A received row's part of the lists by place: the expert rows it goes on to, and that its sum is made of.
struct alignas(8) FusedTerms {
  std::int32_t begin;
  std::int32_t end;
};

/// Received rows whose source is another rank, sources interleaved so that all links work from the first row on.
struct FusedRemoteRows {
  FusedTerms const* terms;                        ///< [count]
  std::int32_t const* from;                       ///< [count] source rank
  std::int32_t const* slot;                       ///< [count] in the own window
  std::int64_t count;                             ///< where the device knows better: at most so many
  std::int64_t const* count_on_device = nullptr;  ///< null: `count` is exact
};

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

/// Loads the kernels before the first step: one that is loaded while another waits in a kernel may wait for it under a
/// lock that another rank of the same process needs. @throws Error{cuda}
void load_fused_dispatch();
void load_fused_combine();

/// Tokens to the slots of their destination ranks and to their places here; received rows from slots to places.
struct FusedDispatchParams {
  FusedCall call;
  void const* tokens;
  std::int64_t row_bytes;  ///< a multiple of 16
  std::int64_t num_tokens;
  float const* weights;  ///< [T, columns]
  std::int64_t columns;
  std::int32_t const* sent_begin;  ///< [T + 1] into the two below: destinations of a token but this rank
  std::int32_t const* sent_to;
  std::int32_t const* sent_slot;  ///< at the receiver
  FusedTerms const* own_terms;    ///< [T] empty: not for this rank
  FusedRemoteRows remote;
  std::int32_t const* places;       ///< expert rows of every received row
  std::int32_t const* term_column;  ///< [places] which weight of its token a place has
  std::int64_t num_places;
  void* output;
  float* term_weights;  ///< [places]
};
/// Both launchers: asynchronous in `stream`, no allocation, capturable. After an error outputs are zeros. @throws
/// Error{cuda} if the launch is refused.
void launch_fused_dispatch(FusedDispatchParams const& params, StreamView stream);

/// Sums of a peer's tokens, fp32 in list order and rounded to the rows' type, to slots at home; each own token is the
/// fp32 sum of its partials in list order, rounded once.
struct FusedCombineParams {
  FusedCall call;
  DType dtype;
  void const* rows;
  std::int64_t columns;
  std::int32_t const* places;
  float const* term_weights;
  FusedTerms const* own_terms;
  FusedRemoteRows remote;
  std::int32_t const* return_slot;  ///< [remote.count] at the source
  std::int32_t const* join_begin;   ///< [T + 1]
  std::int32_t const* join_slots;   ///< in the own window; negative: the token's own terms, summed here
  std::int64_t num_tokens;
  void* output;
};
void launch_fused_combine(FusedCombineParams const& params, StreamView stream);

}  // namespace switchyard::cuda
