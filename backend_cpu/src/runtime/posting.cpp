// SPDX-License-Identifier: Apache-2.0
#include "posting.hpp"

#include <numeric>

#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// Cuts `buffer` into one message per peer. @param side "send" or "receive", for messages.
template <typename Byte>
MessageTable<Byte> cut_by_counts(Posting const& posting, int num_ranks, std::span<Byte> buffer,
                                 std::span<std::int64_t const> counts, char const* side) {
  auto const peers = static_cast<std::size_t>(num_ranks);
  SWITCHYARD_REQUIRE(counts.size() == peers, shape_mismatch, "{}: {}_bytes has {} entries for a group of {} ranks",
                     posting.label(), side, counts.size(), num_ranks);
  MessageTable<Byte> table{TableShape::one_per_peer, {}, {}};
  table.messages.reserve(peers);
  std::int64_t offset = 0;
  for (std::size_t peer = 0; peer < peers; ++peer) {
    SWITCHYARD_REQUIRE(counts[peer] >= 0, invalid_argument, "{}: {}_bytes[{}] is {}, which is negative",
                       posting.label(), side, peer, counts[peer]);
    std::int64_t const end = checked_add(offset, counts[peer]);
    SWITCHYARD_REQUIRE(static_cast<std::uint64_t>(end) <= buffer.size(), shape_mismatch,
                       "{}: {}_bytes of ranks 0-{} add up to {}, but the {} buffer has {} bytes", posting.label(), side,
                       peer, end, side, buffer.size());
    table.messages.push_back(buffer.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(counts[peer])));
    offset = end;
  }
  SWITCHYARD_REQUIRE(static_cast<std::uint64_t>(offset) == buffer.size(), shape_mismatch,
                     "{}: {}_bytes add up to {}, but the {} buffer has {} bytes", posting.label(), side, offset, side,
                     buffer.size());
  return table;
}

RankId peer_of(SendMessage const& message) {
  return message.to;
}
RankId peer_of(ReceiveMessage const& message) {
  return message.from;
}

/// A stable counting sort by peer.
template <typename Byte, typename Message>
MessageTable<Byte> group_by_peer(Posting const& posting, int num_ranks, std::span<Message const> list,
                                 char const* side) {
  MessageTable<Byte> table{TableShape::grouped, std::vector<std::size_t>(static_cast<std::size_t>(num_ranks) + 1), {}};
  for (std::size_t i = 0; i < list.size(); ++i) {
    RankId const peer = peer_of(list[i]);
    SWITCHYARD_REQUIRE(peer.value() >= 0 && peer.value() < num_ranks, invalid_argument,
                       "{}: {} message {} names rank {}, but the group has ranks 0-{}", posting.label(), side, i,
                       peer.value(), num_ranks - 1);
    ++table.first[peer.index() + 1];
  }
  std::partial_sum(table.first.begin(), table.first.end(), table.first.begin());
  auto next = table.first;
  table.messages.resize(list.size());
  for (Message const& message : list) table.messages[next[peer_of(message).index()]++] = message.data;
  return table;
}

}  // namespace

std::string_view to_string(CallKind kind) noexcept {
  switch (kind) {
    case CallKind::barrier: return "barrier";
    case CallKind::all_gather_v: return "all_gather_v";
    case CallKind::all_to_all_v: return "all_to_all_v";
    case CallKind::exchange: return "exchange";
    case CallKind::read_peers: return "read_peers";
  }
  return "unknown call";
}

std::string Posting::label() const {
  std::string text = fmt::format("{} #{}", to_string(kind), sequence);
  if (!operation.empty()) text += fmt::format(" \"{}\"", operation);
  return text;
}

void fill_all_gather_v(Posting& posting, int num_ranks, std::span<std::byte const> send, std::span<std::byte> receive,
                       std::span<std::int64_t const> receive_bytes) {
  posting.receives = cut_by_counts(posting, num_ranks, receive, receive_bytes, "receive");
  posting.sends = {TableShape::one_for_all, {}, {send}};
}

void fill_all_to_all_v(Posting& posting, int num_ranks, std::span<std::byte const> send,
                       std::span<std::int64_t const> send_bytes, std::span<std::byte> receive,
                       std::span<std::int64_t const> receive_bytes) {
  posting.sends = cut_by_counts(posting, num_ranks, send, send_bytes, "send");
  posting.receives = cut_by_counts(posting, num_ranks, receive, receive_bytes, "receive");
}

void fill_exchange(Posting& posting, int num_ranks, std::span<SendMessage const> sends,
                   std::span<ReceiveMessage const> receives) {
  posting.sends = group_by_peer<std::byte const>(posting, num_ranks, sends, "send");
  posting.receives = group_by_peer<std::byte>(posting, num_ranks, receives, "receive");
}

void fill_read_peers(Posting& posting, int num_ranks, std::span<std::byte const> published,
                     std::span<std::int64_t const> peer_bytes, PeerMemory::Reader const& read) {
  SWITCHYARD_REQUIRE(peer_bytes.size() == static_cast<std::size_t>(num_ranks), shape_mismatch,
                     "{}: peer_bytes has {} entries for a group of {} ranks", posting.label(), peer_bytes.size(),
                     num_ranks);
  posting.sends = {TableShape::one_for_all, {}, {published}};
  posting.peer_bytes.assign(peer_bytes.begin(), peer_bytes.end());
  posting.read = &read;
}

std::span<std::byte const> published_bytes(Posting const& posting) {
  return posting.kind == CallKind::read_peers ? posting.sends.messages.front() : std::span<std::byte const>{};
}

void add_checksums(Posting& posting) {
  posting.send_checksums.clear();
  for (std::span<std::byte const> message : posting.sends.messages)
    posting.send_checksums.push_back(internal::byte_checksum(message));
}

}  // namespace switchyard::cpu
