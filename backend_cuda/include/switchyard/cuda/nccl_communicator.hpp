// SPDX-License-Identifier: Apache-2.0
/// NcclCommunicator: a group of ranks over NCCL, for host and for device memory. No CUDA or NCCL header is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/launch/control.hpp"

struct ncclComm;

namespace switchyard::cuda {

/// @return a fresh NCCL unique id, for rank 0 to share (launch::join_group takes this function). @throws Error{nccl}
[[nodiscard]] std::vector<std::byte> make_nccl_id();
/// @return e.g. "NCCL 2.28.9 at run time, 2.28.9 at compile time".
[[nodiscard]] std::string describe_nccl();

/// Owns a non-blocking NCCL communicator, or borrows the caller's. Move-only; share() makes a second holder.
class NcclHandle {
 public:
  /// Collective: every rank of the group calls it at the same time, each with its own device current.
  /// @throws Error{timeout} when a rank does not come in time, Error{nccl}
  [[nodiscard]] static NcclHandle create(std::span<std::byte const> id, int rank, int world_size, Duration deadline);
  /// The same with the id that rank 0 shared over the group's control channel. Ranks meet there first, so that the
  /// errors name who is missing, and a rank that cannot join ends the others' wait.
  /// @throws Error{timeout} naming the ranks that did not come, Error{aborted}, Error{nccl}
  [[nodiscard]] static NcclHandle create(launch::ControlClient& control, Duration deadline);
  /// @param comm a ncclComm_t that outlives the handle. Only non-blocking ones can be aborted safely.
  [[nodiscard]] static NcclHandle borrow(ncclComm* comm) noexcept;
  ~NcclHandle();
  NcclHandle(NcclHandle&&) noexcept;
  NcclHandle& operator=(NcclHandle&&) noexcept;
  NcclHandle(NcclHandle const&) = delete;
  NcclHandle& operator=(NcclHandle const&) = delete;

  /// @return a holder of the same communicator, for use by the same thread: it lives as long as its last holder, and an
  /// abort by one empties all.
  [[nodiscard]] NcclHandle share() const noexcept;
  [[nodiscard]] ncclComm* get() const noexcept;
  /// Stops what is in flight; the handle is empty afterwards. A borrowed communicator is aborted too.
  void abort() noexcept;

 private:
  struct Held;
  explicit NcclHandle(std::shared_ptr<Held> held) noexcept;
  static NcclHandle join(std::span<std::byte const> id, int rank, int world_size, Duration deadline,
                         launch::ControlClient* control);
  std::shared_ptr<Held> held_;
};

struct NcclOptions {
  CheckLevel check = CheckLevel::digest;
  Duration default_deadline = std::chrono::seconds(60);
};

/// Communicator over host memory (staged through pinned and device memory) and DeviceCommunicator on streams.
///
/// Ranks compare calls over the control channel before NCCL sees them, so a mismatch is an error on every rank instead
/// of NCCL's undefined behaviour; a peer that dies breaks its connection, and the others stop what is in flight with
/// ncclCommAbort. With CheckLevel::off exchange_on() does not speak to the control channel at all. CheckLevel::full
/// adds checksums to messages in host memory; device messages are checked as with digest. One object belongs to one
/// thread (but for abort()) and to the device that was current when it was made.
///
/// A rank that has no memory for a call in host memory says so before any rank moves data: every rank gets
/// Error{out_of_memory} naming it, and the group goes on.
class NcclCommunicator final : public Communicator, public DeviceCommunicator {
 public:
  /// @param control of the same rank and group; outlives this object.
  NcclCommunicator(NcclHandle handle, launch::ControlClient& control, NcclOptions const& options = {});
  ~NcclCommunicator() override;

  [[nodiscard]] RankId rank() const noexcept override;
  [[nodiscard]] int size() const noexcept override;

  void barrier(CallOptions const& options = {}) override;
  void all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                    std::span<std::int64_t const> receive_bytes, CallOptions const& options = {}) override;
  void all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                    std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                    CallOptions const& options = {}) override;
  void exchange(std::span<SendMessage const> sends, std::span<ReceiveMessage const> receives,
                CallOptions const& options = {}) override;

  void exchange_on(StreamView stream, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives,
                   CallOptions const& options = {}) override;

  /// The watchdog of work on a stream: waits until it is done, NCCL or the group failed, or the deadline passed. Errors
  /// name the last call of this rank.
  /// @throws Error{timeout, aborted, nccl, cuda}; the communicator is poisoned then.
  void wait(StreamView stream, std::optional<Duration> deadline = {}) override;

  void abort(std::string const& reason) noexcept override;
  /// What a rank's runner says when its body threw: the others get Error{aborted} "rank r failed: reason".
  void fail(std::string const& reason) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
