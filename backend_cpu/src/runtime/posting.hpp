// SPDX-License-Identifier: Apache-2.0
/// Posting: everything one rank says about one call, in the form in which ranks compare it and copy from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cpu/peer_memory.hpp"

namespace switchyard::cpu {

enum class CallKind { barrier, all_gather_v, all_to_all_v, exchange, read_peers };
[[nodiscard]] std::string_view to_string(CallKind kind) noexcept;

/// How a table's messages belong to peers; small for the common shapes, because ranks read each other's tables.
enum class TableShape : std::uint8_t {
  none,          ///< no messages
  one_for_all,   ///< the same single message for every peer
  one_per_peer,  ///< messages[peer]
  grouped,       ///< messages[first[peer] .. first[peer + 1]), first in first out
};

template <typename Byte>
struct MessageTable {
  TableShape shape = TableShape::none;
  std::vector<std::size_t> first{};  // [peers + 1] when grouped
  std::vector<std::span<Byte>> messages{};

  [[nodiscard]] std::size_t begin_of(RankId peer) const {
    if (shape == TableShape::grouped) return first[peer.index()];
    return shape == TableShape::one_per_peer ? peer.index() : 0;
  }
  [[nodiscard]] std::size_t count_of(RankId peer) const {
    if (shape == TableShape::grouped) return first[peer.index() + 1] - first[peer.index()];
    return shape == TableShape::none ? 0 : 1;
  }
  [[nodiscard]] std::span<std::span<Byte> const> of(RankId peer) const {
    return std::span(messages).subspan(begin_of(peer), count_of(peer));
  }
};
using SendTable = MessageTable<std::byte const>;
using ReceiveTable = MessageTable<std::byte>;

struct Posting {
  CallKind kind = CallKind::barrier;
  std::int64_t sequence = 0;
  std::uint64_t configuration = 0;
  std::string operation{};
  SendTable sends{};
  ReceiveTable receives{};
  std::vector<std::uint64_t> send_checksums{};  // like sends.messages; only with CheckLevel::full
  // read_peers only: `sends` holds what this rank publishes, and nothing is received.
  std::vector<std::int64_t> peer_bytes{};
  PeerMemory::Reader const* read = nullptr;

  /// @return e.g. `all_to_all_v #118 "dispatch"`.
  [[nodiscard]] std::string label() const;
};

/// Every collective is an exchange: these fill a posting's tables and check what one rank can check alone.
/// @throws Error{shape_mismatch} for counts or buffers of the wrong size, Error{invalid_argument} for a negative count
///         or a peer outside the group.
void fill_all_gather_v(Posting& posting, int num_ranks, std::span<std::byte const> send, std::span<std::byte> receive,
                       std::span<std::int64_t const> receive_bytes);
void fill_all_to_all_v(Posting& posting, int num_ranks, std::span<std::byte const> send,
                       std::span<std::int64_t const> send_bytes, std::span<std::byte> receive,
                       std::span<std::int64_t const> receive_bytes);
void fill_exchange(Posting& posting, int num_ranks, std::span<SendMessage const> sends,
                   std::span<ReceiveMessage const> receives);

/// Fills a read_peers posting. @param read outlives the call
void fill_read_peers(Posting& posting, int num_ranks, std::span<std::byte const> published,
                     std::span<std::int64_t const> peer_bytes, PeerMemory::Reader const& read);
/// @return what a rank published; empty in any other call.
[[nodiscard]] std::span<std::byte const> published_bytes(Posting const& posting);

/// Computes send_checksums.
void add_checksums(Posting& posting);

}  // namespace switchyard::cpu
