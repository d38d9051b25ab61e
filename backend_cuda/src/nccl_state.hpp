// SPDX-License-Identifier: Apache-2.0
/// NcclCommunicator::State: one rank's NCCL communicator, its control channel, and what its calls need of memory.
///
/// nccl_watch.cpp waits and says what went wrong, nccl_host_messages.cpp moves host memory, nccl_device_messages.cpp
/// device memory.
#pragma once

#include <nccl.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "message_lists.hpp"
#include "scratch.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace switchyard::cuda {

struct NcclCommunicator::State {
  using Clock = std::chrono::steady_clock;

  State(NcclHandle owned, launch::ControlClient& client, NcclOptions const& given)
      : handle(std::move(owned)), control(client), options(given) {}

  /// A note for the next call, which every message of this rank names from now on.
  [[nodiscard]] launch::CallNote open(launch::CallKind kind, CallOptions const& call);
  [[nodiscard]] Duration deadline_of(CallOptions const& call) const {
    return call.deadline.value_or(options.default_deadline);
  }

  /// One host call: agree, move, agree that all have moved.
  void run(launch::CallNote note, MessageLists const& lists, CallOptions const& call);
  /// Compares notes. A failure of the group stops NCCL, too; a call that was only called off does not.
  std::optional<launch::ControlClient::Checksums> meet(launch::CallNote const& note, Duration deadline);
  /// Runs what touches NCCL; a failure that the group does not know of becomes everybody's.
  template <typename Body>
  void guarded(Body const& body) {
    try {
      body();
    } catch (Error const& error) {
      fail_group(error);
    }
  }

  /// The watchdog's wait for a stream.
  void wait(StreamView on, Duration deadline);
  /// Moves device memory; messages of this rank to itself are copied beside the exchange with peers.
  void move_device(StreamView on, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives,
                   Duration deadline);

  NcclHandle handle;
  launch::ControlClient& control;
  NcclOptions options;

 private:
  class Group;

  [[noreturn]] void fail_group(Error const& error);
  void require_alive();
  void settle(Clock::time_point last, Duration deadline);
  void require_no_async_error();
  void pause(Clock::time_point last, Duration deadline);
  [[noreturn]] void expire(Duration deadline);

  [[nodiscard]] std::string reserve(MessageLists const& lists);
  void move_host(MessageLists const& lists, Duration deadline);
  void pack(MessageLists const& lists, std::byte* out) const;
  void deliver(MessageLists const& lists, std::byte const* in) const;
  void verify(launch::CallNote const& note, MessageLists const& lists,
              launch::ControlClient::Checksums const& sums) const;

  void require_issued(ncclResult_t result, char const* call, RankId peer) const;
  void exchange_with_peers(StreamView on, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives,
                           Duration deadline);
  void copy_own(StreamView on, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives) const;

  launch::CallNote last_call;  ///< kind, sequence and operation only
  std::int64_t next_sequence = 0;
  bool in_round = false;  ///< the control channel waits for this rank's data
  Stream stream;
  Event forked;
  Event copied;
  PinnedScratch pinned_out;
  PinnedScratch pinned_in;
  DeviceScratch buffer_out;
  DeviceScratch buffer_in;
  std::vector<DeviceSend> host_sends;
  std::vector<DeviceReceive> host_receives;
};

}  // namespace switchyard::cuda
