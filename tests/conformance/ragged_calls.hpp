// SPDX-License-Identifier: Apache-2.0
/// One ragged call of every kind with provenance-coded payloads: sizes are a function of (call, from, to), so that
/// every rank knows what it must receive. `tweak` lets error tests bend what one rank believes.
#pragma once

#include <functional>
#include <vector>

#include "conformance/provenance_payload.hpp"
#include "switchyard/comm/communicator.hpp"

namespace switchyard::test {

/// Sizes as one rank believes them: how many bytes message `index` from `from` to `to` has.
struct RaggedSizes {
  int call = 0;
  std::size_t scale = 1;

  /// Every third sender sends nothing at all, other sizes lie in [0, 16] * scale.
  [[nodiscard]] std::int64_t bytes(int from, int to, int index = 0) const {
    if (from % 3 == 2 && call % 2 == 1) return 0;
    auto const word = scramble(static_cast<std::uint32_t>(call), static_cast<std::uint32_t>(from),
                               static_cast<std::uint32_t>(to), static_cast<std::uint32_t>(index) + 7);
    return static_cast<std::int64_t>(word % 17 * scale);
  }
  [[nodiscard]] int messages(int from, int to) const {
    return static_cast<int>(
        scramble(static_cast<std::uint32_t>(call), static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(to)) %
        5);
  }
};

/// Adds to a count: (is_send, peer) -> bytes more than RaggedSizes says.
using CountTweak = std::function<std::int64_t(bool is_send, int peer)>;

inline std::int64_t sum(std::vector<std::int64_t> const& counts) {
  std::int64_t total = 0;
  for (std::int64_t count : counts) total += count;
  return total;
}

/// Ranks that disagree are refused before any byte moves.
inline bool is_refusal(Error const& error) {
  return error.code() == ErrorCode::split_mismatch || error.code() == ErrorCode::desync;
}

inline void all_gather_ragged(Communicator& comm, RaggedSizes const& sizes, CallOptions const& options,
                              CountTweak const& tweak = nullptr) {
  int const me = comm.rank().value();
  auto const own = [&](int from) { return sizes.bytes(from, 0); };
  std::vector<std::int64_t> counts;
  for (int from = 0; from < comm.size(); ++from) counts.push_back(own(from) + (tweak ? tweak(false, from) : 0));
  GuardedBuffer send(static_cast<std::size_t>(own(me) + (tweak ? tweak(true, me) : 0)));
  GuardedBuffer receive(static_cast<std::size_t>(sum(counts)));
  fill(send.bytes(), {sizes.call, me, -1, 0});
  try {
    comm.all_gather_v(send.bytes(), receive.bytes(), counts, options);
  } catch (Error const& error) {
    if (is_refusal(error)) receive.expect_untouched();
    throw;
  }
  send.poison();  // a sender may reuse its buffer as soon as the call returns
  std::size_t offset = 0;
  for (int from = 0; from < comm.size(); ++from) {
    auto const length = static_cast<std::size_t>(counts[static_cast<std::size_t>(from)]);
    expect_provenance(receive.bytes().subspan(offset, length), {sizes.call, from, -1, 0});
    offset += length;
  }
  receive.expect_margins_untouched();
}

inline void all_to_all_ragged(Communicator& comm, RaggedSizes const& sizes, CallOptions const& options,
                              CountTweak const& tweak = nullptr) {
  int const me = comm.rank().value();
  std::vector<std::int64_t> send_counts;
  std::vector<std::int64_t> receive_counts;
  for (int peer = 0; peer < comm.size(); ++peer) {
    send_counts.push_back(sizes.bytes(me, peer) + (tweak ? tweak(true, peer) : 0));
    receive_counts.push_back(sizes.bytes(peer, me) + (tweak ? tweak(false, peer) : 0));
  }
  GuardedBuffer send(static_cast<std::size_t>(sum(send_counts)));
  GuardedBuffer receive(static_cast<std::size_t>(sum(receive_counts)));
  std::size_t offset = 0;
  for (int to = 0; to < comm.size(); ++to) {
    auto const length = static_cast<std::size_t>(send_counts[static_cast<std::size_t>(to)]);
    fill(send.bytes().subspan(offset, length), {sizes.call, me, to, 0});
    offset += length;
  }
  try {
    comm.all_to_all_v(send.bytes(), send_counts, receive.bytes(), receive_counts, options);
  } catch (Error const& error) {
    if (is_refusal(error)) receive.expect_untouched();
    throw;
  }
  send.poison();
  offset = 0;
  for (int from = 0; from < comm.size(); ++from) {
    auto const length = static_cast<std::size_t>(receive_counts[static_cast<std::size_t>(from)]);
    expect_provenance(receive.bytes().subspan(offset, length), {sizes.call, from, me, 0});
    offset += length;
  }
  receive.expect_margins_untouched();
}

/// Which message of an exchange a rank leaves out or adds: (is_send, peer) -> messages more than RaggedSizes says.
using MessageTweak = std::function<int(bool is_send, int peer)>;

/// One side of an exchange: its buffers and which message (peer, index) each one is.
struct MessageSet {
  std::vector<GuardedBuffer> buffers{};
  std::vector<std::pair<int, int>> keys{};
};

/// Messages are interleaved over peers (message 0 of every peer, then message 1 ...), so that only the order within a
/// pair counts.
inline MessageSet make_messages(Communicator const& comm, RaggedSizes const& sizes, bool is_send,
                                MessageTweak const& tweak, CountTweak const& count_tweak) {
  int const me = comm.rank().value();
  MessageSet set;
  for (int index = 0; index < 6; ++index) {
    for (int peer = 0; peer < comm.size(); ++peer) {
      int const from = is_send ? me : peer;
      int const to = is_send ? peer : me;
      if (index >= sizes.messages(from, to) + (tweak ? tweak(is_send, peer) : 0)) continue;
      std::int64_t const extra = count_tweak && index == 0 ? count_tweak(is_send, peer) : 0;
      set.buffers.emplace_back(static_cast<std::size_t>(sizes.bytes(from, to, index) + extra));
      set.keys.emplace_back(peer, index);
    }
  }
  return set;
}

inline void exchange_ragged(Communicator& comm, RaggedSizes const& sizes, CallOptions const& options,
                            MessageTweak const& tweak = nullptr, CountTweak const& count_tweak = nullptr) {
  int const me = comm.rank().value();
  MessageSet out = make_messages(comm, sizes, true, tweak, count_tweak);
  MessageSet in = make_messages(comm, sizes, false, tweak, count_tweak);
  std::vector<SendMessage> sends;
  std::vector<ReceiveMessage> receives;
  for (std::size_t i = 0; i < out.buffers.size(); ++i) {
    auto const [peer, index] = out.keys[i];
    fill(out.buffers[i].bytes(), {sizes.call, me, peer, index});
    sends.push_back({RankId(peer), out.buffers[i].bytes()});
  }
  for (std::size_t i = 0; i < in.buffers.size(); ++i)
    receives.push_back({RankId(in.keys[i].first), in.buffers[i].bytes()});
  try {
    comm.exchange(sends, receives, options);
  } catch (Error const& error) {
    for (GuardedBuffer const& buffer : in.buffers)
      if (is_refusal(error)) buffer.expect_untouched();
    throw;
  }
  for (GuardedBuffer& buffer : out.buffers) buffer.poison();
  for (std::size_t i = 0; i < in.buffers.size(); ++i) {
    expect_provenance(in.buffers[i].bytes(), {sizes.call, in.keys[i].first, me, in.keys[i].second});
    in.buffers[i].expect_margins_untouched();
  }
}

/// Call number `call` of a mixed program.
inline void mixed_call(Communicator& comm, int call, std::size_t scale = 1) {
  RaggedSizes const sizes{call, scale};
  CallOptions const options{.operation = "mixed program", .configuration = static_cast<std::uint64_t>(call)};
  switch (scramble(static_cast<std::uint32_t>(call), 3u, 1u) % 4) {
    case 0: return comm.barrier(options);
    case 1: return all_gather_ragged(comm, sizes, options);
    case 2: return all_to_all_ragged(comm, sizes, options);
    default: return exchange_ragged(comm, sizes, options);
  }
}

}  // namespace switchyard::test
