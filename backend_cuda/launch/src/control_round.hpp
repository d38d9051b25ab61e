// SPDX-License-Identifier: Apache-2.0
/// ControlRound: the protocol by which ranks meet, agree and leave together, as a state machine without time or
/// sockets.
///
/// A round: every rank posts a note -> all agree -> go -> every rank has its data -> complete. A round ends well on all
/// ranks or on none; after a failure every rank gets the same error for ever. A rank that cannot take part says so in
/// its note; the round then ends before data moves, with an error for this call only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "frame.hpp"

namespace switchyard::launch {

/// A frame for one rank.
struct Reply {
  int rank;
  std::vector<std::byte> bytes;
};

class ControlRound {
 public:
  explicit ControlRound(int world_size);

  void on_note(int rank, CallNote note);
  void on_done(int rank);
  /// The rank's deadline of `seconds` passed.
  void on_expired(int rank, double seconds);
  void on_fail(GroupFailure const& failure);
  /// The rank makes no more calls.
  void on_ended(int rank);
  /// The rank's connection broke.
  void on_lost(int rank);

  [[nodiscard]] bool all_ended() const;
  [[nodiscard]] std::vector<Reply> take_replies();

 private:
  void match();
  void complete();
  void end_round(std::vector<std::byte> const& answer);
  void fail(ErrorCode code, std::string const& text);
  void fail_if_someone_ended();
  void send_all(std::vector<std::byte> const& bytes);
  [[nodiscard]] std::vector<std::byte> go_frame(int receiver) const;
  [[nodiscard]] std::vector<int> ranks_where(std::vector<bool> const& flags, bool value) const;
  [[nodiscard]] std::string label() const;

  std::vector<CallNote> notes_;
  std::vector<bool> arrived_;
  std::vector<bool> finished_;
  std::vector<bool> ended_;
  bool moving_ = false;
  std::int64_t rounds_ = 0;
  std::optional<GroupFailure> failure_;
  std::vector<Reply> replies_;
};

}  // namespace switchyard::launch
