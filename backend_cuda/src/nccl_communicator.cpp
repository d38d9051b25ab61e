// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/nccl_communicator.hpp"

#include <utility>

#include "nccl_state.hpp"
#include "nvtx_range.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {

using launch::CallKind;
using launch::CallNote;

namespace {

void require_message(CallNote const& note, char const* verb, char const* preposition, int ranks, RankId peer,
                     std::int64_t bytes) {
  SWITCHYARD_REQUIRE(peer.value() >= 0 && peer.value() < ranks && bytes >= 0, invalid_argument,
                     "{}: this rank {} {} bytes {} rank {} in a group of {}: peers are ranks of the group, sizes at "
                     "least 0",
                     note.label(), verb, bytes, preposition, peer.value(), ranks);
}

}  // namespace

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
  NvtxRange const range("barrier");
  CallNote note = state_->open(CallKind::barrier, options);
  note.single_phase = true;
  static_cast<void>(state_->meet(note, state_->deadline_of(options)));
}

void NcclCommunicator::all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                                    std::span<std::int64_t const> receive_bytes, CallOptions const& options) {
  NvtxRange const range("all gather");
  CallNote note = state_->open(CallKind::all_gather_v, options);
  auto const lists = all_gather_lists(note.label(), size(), send, receive, receive_bytes);
  state_->run(std::move(note), lists, options);
}

void NcclCommunicator::all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                                    std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                                    CallOptions const& options) {
  NvtxRange const range("all to all");
  CallNote note = state_->open(CallKind::all_to_all_v, options);
  auto const lists = all_to_all_lists(note.label(), size(), send, send_bytes, receive, receive_bytes);
  state_->run(std::move(note), lists, options);
}

void NcclCommunicator::exchange(std::span<SendMessage const> sends, std::span<ReceiveMessage const> receives,
                                CallOptions const& options) {
  NvtxRange const range("host exchange");
  CallNote note = state_->open(CallKind::exchange, options);
  auto const lists = exchange_lists(note.label(), size(), sends, receives);
  state_->run(std::move(note), lists, options);
}

void NcclCommunicator::exchange_on(StreamView stream, std::span<DeviceSend const> sends,
                                   std::span<DeviceReceive const> receives, CallOptions const& options) {
  NvtxRange const range("device exchange");
  CallNote note = state_->open(CallKind::exchange, options);
  for (DeviceSend const& send : sends) require_message(note, "sends", "to", size(), send.to, send.bytes);
  for (DeviceReceive const& receive : receives)
    require_message(note, "expects", "from", size(), receive.from, receive.bytes);
  if (state_->options.check != CheckLevel::off) {
    note.single_phase = true;
    note.send_bytes.resize(static_cast<std::size_t>(size()));
    note.receive_bytes.resize(static_cast<std::size_t>(size()));
    for (DeviceSend const& send : sends) note.send_bytes[send.to.index()].push_back(send.bytes);
    for (DeviceReceive const& receive : receives) note.receive_bytes[receive.from.index()].push_back(receive.bytes);
    static_cast<void>(state_->meet(note, state_->deadline_of(options)));
  }
  state_->guarded([&] { state_->move_device(stream, sends, receives, state_->deadline_of(options)); });
}

void NcclCommunicator::wait(StreamView stream, std::optional<Duration> deadline) {
  NvtxRange const range("wait");
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
