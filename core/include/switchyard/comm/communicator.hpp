// SPDX-License-Identifier: Apache-2.0
/// Communicator: the only way by which a rank reaches another rank's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/comm/clock.hpp"
#include "switchyard/types/error.hpp"
#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// How much a collective verifies before it moves data (DESIGN 6).
enum class CheckLevel {
  off,     ///< nothing: a mismatch is undefined, as in NCCL
  digest,  ///< operation, sequence number, element size and configuration digest of all ranks, counts pairwise
           ///< (default)
  full,    ///< digest, plus a checksum of every message, verified by its receiver
};

/// What travels with a call besides its data. Plain values; a rank may pass other ones on every call.
struct CallOptions {
  std::string_view operation = "";  ///< what the caller is doing, for messages: "dispatch", "rebalance layer 3"
  std::uint64_t configuration = 0;  ///< digest of what all ranks must agree on (dtype, hidden, top-k, placement, ...)
  std::optional<Duration> deadline{};  ///< from entry; the communicator's default when empty
};

/// One message of a send/recv group.
struct SendMessage {
  RankId to;
  std::span<std::byte const> data;
};
struct ReceiveMessage {
  RankId from;
  std::span<std::byte> data;
};

/// A group of ranks. Every rank holds its own object; methods are collective: all ranks call the same one in the same
/// order.
///
/// Before data moves, ranks compare what they are about to do. A disagreement gives EVERY rank the same Error
/// (`desync` for another operation or text, sequence number or configuration digest, which is where element sizes
/// belong; `split_mismatch` for counts, naming both ranks and both numbers). A rank that does not arrive in time gives
/// the others Error{timeout} naming operation, sequence number, phase, who arrived and who did not. abort() and a rank
/// that ends with an exception wake everybody with Error{aborted} naming that rank and its reason. After any of these
/// the group is poisoned: every later call throws the same error.
///
/// A mistake that one rank can see alone (a buffer whose size is not the sum of its counts, a peer that does not exist)
/// throws Error{shape_mismatch} or Error{invalid_argument} on that rank before the others hear of the call; the call
/// still counts in the sequence, so that a rank that goes on regardless is found out by the others.
///
/// Buffers must not overlap and stay untouched until the call returns. Zero-length messages are legal and move nothing.
class Communicator {
 public:
  virtual ~Communicator() = default;

  [[nodiscard]] virtual RankId rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;

  virtual void barrier(CallOptions const& options = {}) = 0;

  /// Gathers every rank's bytes on every rank. @param receive concatenation by rank ascending.
  /// @param receive_bytes [size] how much each rank contributes, as this rank expects it.
  virtual void all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                            std::span<std::int64_t const> receive_bytes, CallOptions const& options = {}) = 0;

  /// Sends send_bytes[r] bytes to rank r, taken from `send` in rank order; likewise for receiving.
  virtual void all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                            std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                            CallOptions const& options = {}) = 0;

  /// Many point-to-point messages as one operation. Messages of one ordered pair match in list order (first in, first
  /// out).
  virtual void exchange(std::span<SendMessage const> sends, std::span<ReceiveMessage const> receives,
                        CallOptions const& options = {}) = 0;

  /// Poisons the group for all ranks; wakes every waiter. Idempotent: the first reason stays.
  virtual void abort(std::string const& reason) noexcept = 0;
};

/// Gathers equally many integers of every rank, [size * values.size()], rank ascending.
[[nodiscard]] std::vector<std::int64_t> all_gather_i64(Communicator& comm, std::span<std::int64_t const> values,
                                                       CallOptions const& options = {});

}  // namespace switchyard
