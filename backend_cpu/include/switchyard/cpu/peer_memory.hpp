// SPDX-License-Identifier: Apache-2.0
/// PeerMemory: what a communicator offers when its ranks share an address space: reading a peer's buffer where it lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "switchyard/comm/communicator.hpp"

namespace switchyard::cpu {

/// A second interface of such communicators; peer_memory() finds it.
class PeerMemory {
 public:
  /// What every rank published, rank ascending.
  using Buffers = std::span<std::span<std::byte const> const>;
  using Reader = std::function<void(Buffers)>;

  virtual ~PeerMemory() = default;

  /// Collective, with all that Communicator promises of a call. When every rank has arrived and the calls, digests and
  /// sizes have been compared, `read` runs on every rank; the call returns when all ranks have read, so `published` may
  /// be changed then and not before.
  ///
  /// @param published this rank's buffer. @param peer_bytes [size] the size of every rank's buffer, as this rank
  /// expects it. @param read must not call the communicator; may run parallel loops. What it throws ends the call with
  /// an error on every rank.
  /// @throws as Communicator; Error{split_mismatch} naming both ranks and both sizes.
  virtual void read_peers(std::span<std::byte const> published, std::span<std::int64_t const> peer_bytes,
                          Reader const& read, CallOptions const& options) = 0;

  /// @return false when peers may not be read: CheckLevel::full sums up messages, and here there are none.
  [[nodiscard]] virtual bool allows_reads() const noexcept = 0;
};

/// @return the interface, or null when `comm` has none or allows no reads. The same on every rank of a group.
[[nodiscard]] PeerMemory* peer_memory(Communicator& comm) noexcept;

}  // namespace switchyard::cpu
