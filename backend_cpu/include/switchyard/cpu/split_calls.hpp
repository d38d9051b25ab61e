// SPDX-License-Identifier: Apache-2.0
/// SplitCalls: what a communicator offers when a call can be started now and finished later, with work in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "switchyard/comm/communicator.hpp"

namespace switchyard::cpu {

/// A call under way. Destroyed before it was finished it aborts the group: peers may be waiting for this rank's bytes.
class StartedCall {
 public:
  virtual ~StartedCall() = default;
  /// Waits for the end of the call; then the receive buffer is filled and the send buffer free.
  /// @throws as the call itself; Error{invalid_argument} the second time.
  virtual void finish() = 0;
};

/// A second interface of such communicators; split_calls() finds it. Between start and finish a rank may do anything
/// that needs neither the call's buffers nor the communicator (which refuses other calls). The deadline counts from the
/// start. To its peers it makes no difference whether a rank makes the call in one piece or in two.
class SplitCalls {
 public:
  virtual ~SplitCalls() = default;
  /// Communicator::all_to_all_v in two halves. @return never null; must not outlive the communicator.
  [[nodiscard]] virtual std::unique_ptr<StartedCall> start_all_to_all_v(std::span<std::byte const> send,
                                                                        std::span<std::int64_t const> send_bytes,
                                                                        std::span<std::byte> receive,
                                                                        std::span<std::int64_t const> receive_bytes,
                                                                        CallOptions const& options) = 0;
};

/// @return the interface, or null when `comm` has none.
[[nodiscard]] SplitCalls* split_calls(Communicator& comm) noexcept;

}  // namespace switchyard::cpu
