// SPDX-License-Identifier: Apache-2.0
/// The messages of a host call by peer, and the checks that one rank can make alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/launch/call_note.hpp"

namespace switchyard::cuda {

/// [ranks][messages], first in first out within a pair.
struct MessageLists {
  std::vector<std::vector<std::span<std::byte const>>> sends;
  std::vector<std::vector<std::span<std::byte>>> receives;
};

/// All three throw Error{shape_mismatch} for counts or buffers of the wrong size and Error{invalid_argument} for a
/// negative count or a peer outside the group. @param label names the call in messages
[[nodiscard]] MessageLists all_gather_lists(std::string const& label, int ranks, std::span<std::byte const> send,
                                            std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes);
[[nodiscard]] MessageLists all_to_all_lists(std::string const& label, int ranks, std::span<std::byte const> send,
                                            std::span<std::int64_t const> send_bytes, std::span<std::byte> receive,
                                            std::span<std::int64_t const> receive_bytes);
[[nodiscard]] MessageLists exchange_lists(std::string const& label, int ranks, std::span<SendMessage const> sends,
                                          std::span<ReceiveMessage const> receives);

/// Fills the note's sizes, and its checksums with CheckLevel::full.
void describe(MessageLists const& lists, launch::CallNote& note);

}  // namespace switchyard::cuda
