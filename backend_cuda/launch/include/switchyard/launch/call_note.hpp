// SPDX-License-Identifier: Apache-2.0
/// CallNote: what a rank says about a call before data moves, so that ranks in other processes can compare it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.hpp"

namespace switchyard::launch {

enum class CallKind : std::uint8_t { barrier, all_gather_v, all_to_all_v, exchange };

struct CallNote {
  CallKind kind = CallKind::barrier;
  std::int64_t sequence = 0;
  std::uint64_t configuration = 0;
  std::string operation{};
  CheckLevel check = CheckLevel::digest;
  bool single_phase = false;  ///< the round ends when all ranks have arrived and agree: barriers, moves on a stream
  std::vector<std::vector<std::int64_t>> send_bytes{};     ///< [ranks][messages]
  std::vector<std::vector<std::int64_t>> receive_bytes{};  ///< [ranks][messages]
  std::vector<std::vector<std::uint64_t>> checksums{};     ///< like send_bytes, with CheckLevel::full; else empty
  std::string refusal{};  ///< why this rank cannot take part, e.g. no memory; empty when it can

  /// @return e.g. `all_to_all_v #118 "dispatch"`.
  [[nodiscard]] std::string label() const;
  friend bool operator==(CallNote const&, CallNote const&) = default;
};

/// Why a group failed; every rank throws the same.
struct GroupFailure {
  ErrorCode code = ErrorCode::internal;
  std::string text{};
};

/// @param notes one per rank. @return the first disagreement in a fixed order: call, configuration, then counts by
/// sender and receiver; nothing with CheckLevel::off. Pure.
[[nodiscard]] std::optional<GroupFailure> compare_notes(std::vector<CallNote> const& notes);

/// @return what every rank hears when one of them cannot take part; nothing when all can. Pure.
[[nodiscard]] std::optional<GroupFailure> refusal_of(std::vector<CallNote> const& notes);

/// Naming ranks in messages: "no rank", "rank 3", "ranks 0-2, 5".
[[nodiscard]] std::string name_ranks(std::vector<int> const& ranks);

}  // namespace switchyard::launch
