// SPDX-License-Identifier: Apache-2.0
#include "message_lists.hpp"

#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

/// Cuts `buffer` into one message per peer.
template <typename Byte>
std::vector<std::vector<std::span<Byte>>> cut(std::string const& label, int ranks, std::span<Byte> buffer,
                                              std::span<std::int64_t const> counts, char const* side) {
  SWITCHYARD_REQUIRE(counts.size() == static_cast<std::size_t>(ranks), shape_mismatch,
                     "{}: {}_bytes has {} entries for a group of {} ranks", label, side, counts.size(), ranks);
  std::vector<std::vector<std::span<Byte>>> lists;
  std::int64_t offset = 0;
  for (std::size_t peer = 0; peer < counts.size(); ++peer) {
    SWITCHYARD_REQUIRE(counts[peer] >= 0, invalid_argument, "{}: {}_bytes[{}] is {}, which is negative", label, side,
                       peer, counts[peer]);
    std::int64_t const end = checked_add(offset, counts[peer]);
    SWITCHYARD_REQUIRE(static_cast<std::uint64_t>(end) <= buffer.size(), shape_mismatch,
                       "{}: {}_bytes of ranks 0-{} add up to {}, but the {} buffer has {} bytes", label, side, peer,
                       end, side, buffer.size());
    lists.push_back({buffer.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(counts[peer]))});
    offset = end;
  }
  SWITCHYARD_REQUIRE(static_cast<std::uint64_t>(offset) == buffer.size(), shape_mismatch,
                     "{}: {}_bytes add up to {}, but the {} buffer has {} bytes", label, side, offset, side,
                     buffer.size());
  return lists;
}

RankId peer_of(SendMessage const& message) {
  return message.to;
}
RankId peer_of(ReceiveMessage const& message) {
  return message.from;
}

template <typename Byte, typename Message>
std::vector<std::vector<std::span<Byte>>> group(std::string const& label, int ranks, std::span<Message const> messages,
                                                char const* side) {
  std::vector<std::vector<std::span<Byte>>> lists(static_cast<std::size_t>(ranks));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    RankId const peer = peer_of(messages[i]);
    SWITCHYARD_REQUIRE(peer.value() >= 0 && peer.value() < ranks, invalid_argument,
                       "{}: {} message {} names rank {}, but the group has ranks 0-{}", label, side, i, peer.value(),
                       ranks - 1);
    lists[peer.index()].push_back(messages[i].data);
  }
  return lists;
}

template <typename Lists>
std::vector<std::vector<std::int64_t>> sizes_of(Lists const& lists) {
  std::vector<std::vector<std::int64_t>> sizes;
  for (auto const& list : lists) {
    sizes.emplace_back();
    for (auto const& message : list) sizes.back().push_back(static_cast<std::int64_t>(message.size()));
  }
  return sizes;
}

}  // namespace

MessageLists all_gather_lists(std::string const& label, int ranks, std::span<std::byte const> send,
                              std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes) {
  MessageLists lists;
  lists.receives = cut(label, ranks, receive, receive_bytes, "receive");
  lists.sends.assign(static_cast<std::size_t>(ranks), {send});
  return lists;
}

MessageLists all_to_all_lists(std::string const& label, int ranks, std::span<std::byte const> send,
                              std::span<std::int64_t const> send_bytes, std::span<std::byte> receive,
                              std::span<std::int64_t const> receive_bytes) {
  MessageLists lists;
  lists.sends = cut(label, ranks, send, send_bytes, "send");
  lists.receives = cut(label, ranks, receive, receive_bytes, "receive");
  return lists;
}

MessageLists exchange_lists(std::string const& label, int ranks, std::span<SendMessage const> sends,
                            std::span<ReceiveMessage const> receives) {
  return {group<std::byte const>(label, ranks, sends, "send"), group<std::byte>(label, ranks, receives, "receive")};
}

void describe(MessageLists const& lists, launch::CallNote& note) {
  note.send_bytes = sizes_of(lists.sends);
  note.receive_bytes = sizes_of(lists.receives);
  if (note.check != CheckLevel::full) return;
  for (auto const& list : lists.sends) {
    note.checksums.emplace_back();
    for (auto const message : list) note.checksums.back().push_back(internal::byte_checksum(message));
  }
}

}  // namespace switchyard::cuda
