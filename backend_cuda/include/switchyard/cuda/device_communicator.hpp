// SPDX-License-Identifier: Apache-2.0
/// DeviceCommunicator: how ranks exchange device memory in the order of a stream. No CUDA or NCCL header is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/stream.hpp"

namespace switchyard::cuda {

/// One message of an exchange; device memory.
struct DeviceSend {
  RankId to;
  void const* data;
  std::int64_t bytes;
};
struct DeviceReceive {
  RankId from;
  void* data;
  std::int64_t bytes;
};

/// A group of ranks that exchanges device memory. Collective as Communicator is, with the same errors: ranks compare
/// the call, its configuration digest and the message sizes of every pair before any byte moves.
class DeviceCommunicator {
 public:
  virtual ~DeviceCommunicator() = default;
  [[nodiscard]] virtual RankId rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;

  /// Moves messages after the work issued to `stream` so far; work issued to it afterwards sees them. Messages of one
  /// ordered pair match in list order. Returns when the move is issued; buffers stay untouched until the stream passes
  /// it. A rank may send to itself. NCCL's kernels load whole words of up to 16 bytes around a message's ends: memory
  /// checkers report it where an allocation has another size than a multiple of 16.
  /// @throws Error{invalid_argument} on this rank alone for a peer outside the group or a negative size. On every rank,
  ///         after which the group is poisoned: Error{desync} for calls or digests that differ, Error{split_mismatch}
  ///         for sizes that differ or messages to itself that do not match, Error{timeout} naming who did not come,
  ///         Error{aborted} when a rank failed or called abort(), Error{nccl, cuda} when a call failed on some rank.
  ///         Without checks mismatches are found by the next wait()'s deadline, or not at all.
  virtual void exchange_on(StreamView stream, std::span<DeviceSend const> sends,
                           std::span<DeviceReceive const> receives, CallOptions const& options = {}) = 0;

  /// Waits until the work on a stream is done. Implementations whose moves run on after exchange_on() watch the group
  /// and the deadline meanwhile. @throws Error{timeout, aborted, nccl, cuda}
  virtual void wait(StreamView stream, std::optional<Duration> deadline = {}) {
    static_cast<void>(deadline);
    stream.synchronize();
  }

  /// Poisons the group for all ranks. Idempotent.
  virtual void abort(std::string const& reason) noexcept = 0;
};

/// Moves device memory over any Communicator by way of host memory: ranks that share one GPU, tests, machines without
/// NCCL. Blocks the host; not for speed.
class HostStagedCommunicator final : public DeviceCommunicator {
 public:
  /// @param host outlives this object.
  explicit HostStagedCommunicator(Communicator& host);
  ~HostStagedCommunicator() override;

  [[nodiscard]] RankId rank() const noexcept override { return host_.rank(); }
  [[nodiscard]] int size() const noexcept override { return host_.size(); }
  void exchange_on(StreamView stream, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives,
                   CallOptions const& options) override;
  void abort(std::string const& reason) noexcept override { host_.abort(reason); }

 private:
  struct Staging;
  Communicator& host_;
  std::unique_ptr<Staging> staging_;
};

}  // namespace switchyard::cuda
