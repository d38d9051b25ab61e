// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/nccl_communicator.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "cuda_error.hpp"
#include "message_lists.hpp"
#include "nccl_error.hpp"
#include "scratch.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

using Clock = std::chrono::steady_clock;
using launch::CallKind;
using launch::CallNote;

template <typename Lists>
std::int64_t remote_bytes(Lists const& lists, int self) {
  std::int64_t total = 0;
  for (std::size_t peer = 0; peer < lists.size(); ++peer)
    if (static_cast<int>(peer) != self)
      for (auto const& message : lists[peer]) total += static_cast<std::int64_t>(message.size());
  return total;
}

double seconds_of(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

struct NcclCommunicator::State {
  State(NcclHandle owned, launch::ControlClient& client, NcclOptions const& given)
      : handle(std::move(owned)), control(client), options(given) {}

  [[nodiscard]] CallNote open(CallKind kind, CallOptions const& call) {
    CallNote note;
    note.kind = kind;
    note.sequence = next_sequence++;
    note.configuration = call.configuration;
    note.operation = std::string(call.operation);
    note.check = options.check;
    return note;
  }
  [[nodiscard]] Duration deadline_of(CallOptions const& call) const {
    return call.deadline.value_or(options.default_deadline);
  }

  /// One host call: agree, move, agree that all have moved.
  void run(CallNote note, MessageLists const& lists, CallOptions const& call) {
    describe(lists, note);
    auto const checksums = meet(note, deadline_of(call));
    if (!checksums) return;
    guarded([&] {
      move_host(lists, deadline_of(call));
      if (note.check == CheckLevel::full) verify(note, lists, *checksums);
      control.finish(deadline_of(call));
    });
  }

  std::optional<launch::ControlClient::Checksums> meet(CallNote const& note, Duration deadline) {
    try {
      return control.meet(note, deadline);
    } catch (...) {
      handle.abort();
      throw;
    }
  }

  /// Runs what touches NCCL; a failure that the group does not know of becomes everybody's.
  template <typename Body>
  void guarded(Body const& body) {
    try {
      body();
    } catch (Error const& error) {
      handle.abort();
      control.fail(error.code(), std::string(error.message()));
      throw;
    }
  }

  void require_alive() {
    control.throw_if_failed();
    SWITCHYARD_REQUIRE(handle.get() != nullptr, aborted, "the NCCL communicator of rank {} was aborted",
                       control.rank());
  }

  /// Polls until the last group call is issued: non-blocking communicators may defer it.
  void settle(Clock::time_point last, Duration deadline) {
    for (;;) {
      ncclResult_t state = ncclSuccess;
      SWITCHYARD_NCCL_TRY(handle.get(), ncclCommGetAsyncError(handle.get(), &state));
      if (state == ncclSuccess) return;
      if (state != ncclInProgress) throw_nccl_error(state, "asynchronous work", handle.get(), __FILE__, __LINE__);
      pause(last, deadline);
    }
  }

  /// One turn of a watchdog's loop.
  void pause(Clock::time_point last, Duration deadline) {
    control.throw_if_failed();
    if (Clock::now() >= last) expire(deadline);
    std::this_thread::yield();
  }

  [[noreturn]] void expire(Duration deadline) {
    handle.abort();
    if (in_round) control.expire(seconds_of(deadline));
    call_roll();
    throw Error(ErrorCode::timeout,
                fmt::format("call #{} of rank {}: work on the stream took longer than the deadline of {:.3f} s: a peer "
                            "is slow or stuck, or left its call; the communicator was aborted",
                            next_sequence - 1, control.rank(), seconds_of(deadline)));
  }

  /// Moves that ranks did not compare ended in no time, and NCCL does not say whose fault it is. Ranks that wait for
  /// the same move meet here when their deadlines pass; the group's error names who does not come. Returns when all do.
  void call_roll() {
    constexpr auto kRollTime = std::chrono::seconds(2);
    CallNote note;
    note.kind = CallKind::barrier;
    note.sequence = next_sequence - 1;
    note.operation = "roll call after a deadline";
    note.check = CheckLevel::off;
    note.single_phase = true;
    try {
      static_cast<void>(control.meet(note, kRollTime));
    } catch (Error const& error) {
      if (error.code() != ErrorCode::desync) throw;  // all are there, some of them in a later call
    }
  }

  void wait(StreamView on, Duration deadline) {
    auto const last = Clock::now() + deadline;
    for (;;) {
      cudaError_t const status = cudaStreamQuery(on.handle());
      if (status == cudaSuccess) return;
      if (status != cudaErrorNotReady) throw_cuda_error(status, "cudaStreamQuery", __FILE__, __LINE__);
      if (handle.get() != nullptr) {
        ncclResult_t state = ncclSuccess;
        SWITCHYARD_NCCL_TRY(handle.get(), ncclCommGetAsyncError(handle.get(), &state));
        if (state != ncclSuccess && state != ncclInProgress)
          throw_nccl_error(state, "asynchronous work", handle.get(), __FILE__, __LINE__);
      }
      pause(last, deadline);
    }
  }

  void group(StreamView on, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives,
             Duration deadline) {
    require_alive();
    auto const last = Clock::now() + deadline;
    SWITCHYARD_NCCL_TRY(handle.get(), ncclGroupStart());
    for (DeviceSend const& send : sends)
      if (send.to.value() != control.rank() && send.bytes > 0)
        SWITCHYARD_NCCL_TRY(handle.get(), ncclSend(send.data, to_size(send.bytes), ncclInt8, send.to.value(),
                                                   handle.get(), on.handle()));
    for (DeviceReceive const& receive : receives)
      if (receive.from.value() != control.rank() && receive.bytes > 0)
        SWITCHYARD_NCCL_TRY(handle.get(), ncclRecv(receive.data, to_size(receive.bytes), ncclInt8, receive.from.value(),
                                                   handle.get(), on.handle()));
    SWITCHYARD_NCCL_TRY(handle.get(), ncclGroupEnd());
    settle(last, deadline);
  }

  /// Messages to itself: the k-th send is the k-th receive.
  void copy_own(StreamView on, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives) {
    std::size_t next = 0;
    for (DeviceReceive const& receive : receives) {
      if (receive.from.value() != control.rank()) continue;
      while (next < sends.size() && sends[next].to.value() != control.rank()) ++next;
      SWITCHYARD_REQUIRE(next < sends.size() && sends[next].bytes == receive.bytes, split_mismatch,
                         "rank {} expects {} bytes from itself, which it does not send", control.rank(), receive.bytes);
      if (receive.bytes > 0)
        SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(receive.data, sends[next].data, to_size(receive.bytes),
                                            cudaMemcpyDeviceToDevice, on.handle()));
      ++next;
    }
  }

  /// copy_own() beside the exchange with peers: copies that take longer than two events go to a stream of their own.
  void move_device(StreamView on, std::span<DeviceSend const> sends, std::span<DeviceReceive const> receives,
                   Duration deadline) {
    constexpr std::int64_t kWorthForking = std::int64_t{1} << 20;
    std::int64_t own_bytes = 0;
    for (DeviceReceive const& receive : receives)
      if (receive.from.value() == control.rank()) own_bytes += receive.bytes;
    bool const forks = own_bytes >= kWorthForking;
    StreamView const beside = forks ? stream.view() : on;
    if (forks) {
      forked.view().record(on);
      beside.wait(forked.view());
    }
    copy_own(beside, sends, receives);
    if (forks) copied.view().record(beside);
    group(on, sends, receives, deadline);
    if (forks) on.wait(copied.view());
  }

  /// Host messages by way of pinned and device memory.
  void move_host(MessageLists const& lists, Duration deadline) {
    in_round = true;
    int const self = control.rank();
    std::int64_t const out_bytes = remote_bytes(lists.sends, self);
    std::int64_t const in_bytes = remote_bytes(lists.receives, self);
    std::byte* const out = pinned_out.reserve(out_bytes);
    auto* const device_out = static_cast<std::byte*>(buffer_out.reserve(out_bytes));
    auto* const device_in = static_cast<std::byte*>(buffer_in.reserve(in_bytes));
    std::byte* const in = pinned_in.reserve(in_bytes);
    host_sends.clear();
    host_receives.clear();
    std::int64_t offset = 0;
    for (std::size_t peer = 0; peer < lists.sends.size(); ++peer) {
      if (static_cast<int>(peer) == self) continue;
      for (auto const message : lists.sends[peer]) {
        if (!message.empty()) std::memcpy(out + offset, message.data(), message.size());
        host_sends.push_back(
            {RankId(static_cast<std::int32_t>(peer)), device_out + offset, static_cast<std::int64_t>(message.size())});
        offset += static_cast<std::int64_t>(message.size());
      }
    }
    offset = 0;
    for (std::size_t peer = 0; peer < lists.receives.size(); ++peer) {
      if (static_cast<int>(peer) == self) continue;
      for (auto const message : lists.receives[peer]) {
        host_receives.push_back(
            {RankId(static_cast<std::int32_t>(peer)), device_in + offset, static_cast<std::int64_t>(message.size())});
        offset += static_cast<std::int64_t>(message.size());
      }
    }
    if (out_bytes > 0)
      SWITCHYARD_CUDA_TRY(
          cudaMemcpyAsync(device_out, out, to_size(out_bytes), cudaMemcpyHostToDevice, stream.view().handle()));
    if (out_bytes + in_bytes > 0) group(stream, host_sends, host_receives, deadline);
    if (in_bytes > 0)
      SWITCHYARD_CUDA_TRY(
          cudaMemcpyAsync(in, device_in, to_size(in_bytes), cudaMemcpyDeviceToHost, stream.view().handle()));
    wait(stream, deadline);
    deliver(lists, in);
    in_round = false;
  }

  void deliver(MessageLists const& lists, std::byte const* in) {
    for (std::size_t peer = 0; peer < lists.receives.size(); ++peer)
      for (std::size_t i = 0; i < lists.receives[peer].size(); ++i) {
        auto const target = lists.receives[peer][i];
        bool const own = static_cast<int>(peer) == control.rank();
        if (own && i >= lists.sends[peer].size()) continue;  // without checks a mismatch stays inside the buffers
        auto const bytes = own ? std::min(target.size(), lists.sends[peer][i].size()) : target.size();
        if (bytes > 0) std::memcpy(target.data(), own ? lists.sends[peer][i].data() : in, bytes);
        if (!own) in += bytes;
      }
  }

  void verify(CallNote const& note, MessageLists const& lists, launch::ControlClient::Checksums const& sums) {
    for (std::size_t from = 0; from < lists.receives.size(); ++from)
      for (std::size_t i = 0; i < lists.receives[from].size(); ++i) {
        std::uint64_t const received = internal::byte_checksum(lists.receives[from][i]);
        SWITCHYARD_REQUIRE(sums[from].size() > i && sums[from][i] == received, corrupt_data,
                           "{}: message {} of {} from rank {} to rank {} ({} bytes) was sent with another checksum "
                           "than {:016x}, with which it arrived; a memory or transport fault: do not use the received "
                           "buffers",
                           note.label(), i, lists.receives[from].size(), from, control.rank(),
                           lists.receives[from][i].size(), received);
      }
  }

  NcclHandle handle;
  launch::ControlClient& control;
  NcclOptions options;
  std::int64_t next_sequence = 0;
  bool in_round = false;
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

NcclCommunicator::NcclCommunicator(NcclHandle handle, launch::ControlClient& control, NcclOptions const& options)
    : state_(std::make_unique<State>(std::move(handle), control, options)) {}
NcclCommunicator::~NcclCommunicator() = default;

RankId NcclCommunicator::rank() const noexcept {
  return RankId(state_->control.rank());
}
int NcclCommunicator::size() const noexcept {
  return state_->control.world_size();
}

void NcclCommunicator::barrier(CallOptions const& options) {
  CallNote note = state_->open(CallKind::barrier, options);
  note.single_phase = true;
  static_cast<void>(state_->meet(note, state_->deadline_of(options)));
}

void NcclCommunicator::all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                                    std::span<std::int64_t const> receive_bytes, CallOptions const& options) {
  CallNote note = state_->open(CallKind::all_gather_v, options);
  auto const lists = all_gather_lists(note.label(), size(), send, receive, receive_bytes);
  state_->run(std::move(note), lists, options);
}

void NcclCommunicator::all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                                    std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                                    CallOptions const& options) {
  CallNote note = state_->open(CallKind::all_to_all_v, options);
  auto const lists = all_to_all_lists(note.label(), size(), send, send_bytes, receive, receive_bytes);
  state_->run(std::move(note), lists, options);
}

void NcclCommunicator::exchange(std::span<SendMessage const> sends, std::span<ReceiveMessage const> receives,
                                CallOptions const& options) {
  CallNote note = state_->open(CallKind::exchange, options);
  auto const lists = exchange_lists(note.label(), size(), sends, receives);
  state_->run(std::move(note), lists, options);
}

void NcclCommunicator::exchange_on(StreamView stream, std::span<DeviceSend const> sends,
                                   std::span<DeviceReceive const> receives, CallOptions const& options) {
  CallNote note = state_->open(CallKind::exchange, options);
  if (state_->options.check != CheckLevel::off) {
    note.single_phase = true;
    note.send_bytes.resize(static_cast<std::size_t>(size()));
    note.receive_bytes.resize(static_cast<std::size_t>(size()));
    for (DeviceSend const& send : sends) note.send_bytes.at(send.to.index()).push_back(send.bytes);
    for (DeviceReceive const& receive : receives) note.receive_bytes.at(receive.from.index()).push_back(receive.bytes);
    static_cast<void>(state_->meet(note, state_->deadline_of(options)));
  }
  state_->guarded([&] { state_->move_device(stream, sends, receives, state_->deadline_of(options)); });
}

void NcclCommunicator::wait(StreamView stream, std::optional<Duration> deadline) {
  state_->guarded([&] { state_->wait(stream, deadline.value_or(state_->options.default_deadline)); });
}

void NcclCommunicator::abort(std::string const& reason) noexcept {
  try {
    state_->control.fail(ErrorCode::aborted, fmt::format("rank {} called abort: {}", rank().value(), reason));
  } catch (...) {  // out of memory for the text: a shorter one that needs none
    state_->control.fail(ErrorCode::aborted, {});
  }
}

void NcclCommunicator::fail(std::string const& reason) noexcept {
  try {
    state_->control.fail(ErrorCode::aborted, fmt::format("rank {} failed: {}", rank().value(), reason));
  } catch (...) {
    state_->control.fail(ErrorCode::aborted, {});
  }
}

}  // namespace switchyard::cuda
