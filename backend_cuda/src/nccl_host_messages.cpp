// SPDX-License-Identifier: Apache-2.0
// Messages in host memory, by way of pinned and device memory. All memory is reserved before the ranks meet, so that a
// rank without it can call the call off instead of leaving its peers inside NCCL.
#include <algorithm>
#include <cstring>
#include <new>

#include "cuda_error.hpp"
#include "nccl_state.hpp"
#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

template <typename Lists>
std::int64_t remote_bytes(Lists const& lists, int self) {
  std::int64_t total = 0;
  for (std::size_t peer = 0; peer < lists.size(); ++peer)
    if (static_cast<int>(peer) != self)
      for (auto const& message : lists[peer]) total += static_cast<std::int64_t>(message.size());
  return total;
}

/// Adds a message for every remote one of the lists, one after the other from `device` on.
template <typename Message, typename Lists>
void append_remote(std::vector<Message>& messages, Lists const& lists, int self, std::byte* device) {
  for (std::size_t peer = 0; peer < lists.size(); ++peer) {
    if (static_cast<int>(peer) == self) continue;
    for (auto const& message : lists[peer]) {
      auto const bytes = static_cast<std::int64_t>(message.size());
      messages.push_back({RankId(static_cast<std::int32_t>(peer)), device, bytes});
      device += bytes;
    }
  }
}

}  // namespace

void NcclCommunicator::State::run(launch::CallNote note, MessageLists const& lists, CallOptions const& call) {
  describe(lists, note);
  note.refusal = reserve(lists);
  auto const checksums = meet(note, deadline_of(call));
  if (!checksums) return;
  guarded([&] {
    move_host(lists, deadline_of(call));
    if (note.check == CheckLevel::full) verify(note, lists, *checksums);
    control.finish(deadline_of(call));
  });
}

/// @return why there is no memory for the messages; empty when there is
std::string NcclCommunicator::State::reserve(MessageLists const& lists) {
  try {
    std::int64_t const out_bytes = remote_bytes(lists.sends, control.rank());
    std::int64_t const in_bytes = remote_bytes(lists.receives, control.rank());
    static_cast<void>(pinned_out.reserve(out_bytes));
    static_cast<void>(pinned_in.reserve(in_bytes));
    auto* const out = static_cast<std::byte*>(buffer_out.reserve(out_bytes));
    auto* const in = static_cast<std::byte*>(buffer_in.reserve(in_bytes));
    host_sends.clear();
    host_receives.clear();
    append_remote(host_sends, lists.sends, control.rank(), out);
    append_remote(host_receives, lists.receives, control.rank(), in);
  } catch (Error const& error) {
    if (error.code() != ErrorCode::out_of_memory) throw;
    return std::string(error.message());
  } catch (std::bad_alloc const&) {
    return "the host has no memory for the lists of messages";
  }
  return {};
}

void NcclCommunicator::State::pack(MessageLists const& lists, std::byte* out) const {
  for (std::size_t peer = 0; peer < lists.sends.size(); ++peer) {
    if (static_cast<int>(peer) == control.rank()) continue;
    for (auto const message : lists.sends[peer]) {
      if (!message.empty()) std::memcpy(out, message.data(), message.size());
      out += message.size();
    }
  }
}

void NcclCommunicator::State::move_host(MessageLists const& lists, Duration deadline) {
  in_round = true;
  std::int64_t const out_bytes = remote_bytes(lists.sends, control.rank());
  std::int64_t const in_bytes = remote_bytes(lists.receives, control.rank());
  std::byte* const out = pinned_out.reserve(out_bytes);
  std::byte* const in = pinned_in.reserve(in_bytes);
  pack(lists, out);
  if (out_bytes > 0)
    SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(buffer_out.reserve(out_bytes), out, to_size(out_bytes), cudaMemcpyHostToDevice,
                                        stream.view().handle()));
  if (out_bytes + in_bytes > 0) exchange_with_peers(stream, host_sends, host_receives, deadline);
  if (in_bytes > 0)
    SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(in, buffer_in.reserve(in_bytes), to_size(in_bytes), cudaMemcpyDeviceToHost,
                                        stream.view().handle()));
  wait(stream, deadline);
  deliver(lists, in);
  in_round = false;
}

void NcclCommunicator::State::deliver(MessageLists const& lists, std::byte const* in) const {
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

void NcclCommunicator::State::verify(launch::CallNote const& note, MessageLists const& lists,
                                     launch::ControlClient::Checksums const& sums) const {
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

}  // namespace switchyard::cuda
