// SPDX-License-Identifier: Apache-2.0
/// Rendezvous: the protocol by which all ranks of a group meet, compare, copy and leave together.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compare_postings.hpp"
#include "posting.hpp"
#include "switchyard/cpu/in_process_group.hpp"

namespace switchyard::cpu {

/// One round per call: gather postings -> compare (by the last rank to arrive) -> every receiver copies, or reads
/// its peers -> all leave.
///
/// `matched_` and `completed_` only grow, so a rank that wakes late still sees that its round came to an end although
/// the group has failed since: a round ends well on all ranks or on none. A rank whose round failed stays until nobody
/// copies any more, because its buffers may be in use.
class Rendezvous {
 public:
  Rendezvous(Scheduler& scheduler, int num_ranks, GroupOptions const& options, FaultHook* faults);

  [[nodiscard]] int size() const noexcept { return static_cast<int>(postings_.size()); }
  [[nodiscard]] GroupOptions const& options() const noexcept { return options_; }

  /// A call that a rank has posted and not completed.
  struct Ticket {
    std::int64_t round;
    Instant entry;
    Duration deadline;
  };

  /// Takes part in one call. @throws Error as Communicator documents.
  void meet(RankId rank, Posting posting, Duration deadline) {
    complete(rank, post(rank, std::move(posting), deadline));
  }
  /// The first half: says what this rank wants and waits for nobody. @throws Error when the group has failed.
  Ticket post(RankId rank, Posting posting, Duration deadline);
  /// The second half: waits for the others, copies and leaves with them. @throws Error as meet().
  void complete(RankId rank, Ticket const& ticket);
  /// Instead of complete(): fails the group, and returns when nobody reads this rank's buffers any more.
  void abandon(RankId rank) noexcept;

  /// Poisons the group unless it is poisoned already.
  void fail(ErrorCode code, std::string const& text);
  void rank_ended(RankId rank);

 private:
  class Lock;
  /// What a rank waits for, in the words of the message that it gives when the wait takes too long.
  struct Phase {
    char const* name;
    char const* reached;
    char const* missing;
    std::vector<bool> const& flags;
  };

  void match();
  std::optional<GroupFailure> copy(RankId rank);
  void copy_from(Posting const& mine, RankId rank, RankId sender);
  void read_from_all(Posting const& mine, RankId rank);
  void verify(Posting const& theirs, RankId rank, RankId sender, std::span<std::span<std::byte> const> received);
  void leave(RankId rank, Ticket const& ticket);
  /// Waits until `done`; on failure of the group or expiry throws.
  void wait(std::function<bool()> const& done, Ticket const& ticket, Phase const& phase, RankId rank);
  std::string expiry_text(Phase const& phase, Duration deadline, RankId rank) const;
  [[noreturn]] void leave_failed();
  void wait_for_copies();
  void throw_if_failed() const;
  void fail_if_someone_ended();
  void set_failure(ErrorCode code, std::string const& text);
  void complete_round();
  [[nodiscard]] std::vector<RankId> ranks_where(std::vector<bool> const& flags, bool value) const;

  Scheduler& scheduler_;
  GroupOptions options_;
  FaultHook* faults_;
  // Everything below is guarded by the scheduler's lock, except that the postings of a matched round are read-only.
  std::vector<Posting> postings_;
  std::vector<bool> arrived_;
  std::vector<bool> finished_;
  std::vector<bool> ended_;
  int num_arrived_ = 0;
  int num_finished_ = 0;
  int num_ended_ = 0;
  int num_copying_ = 0;
  std::int64_t matched_ = 0;
  std::int64_t completed_ = 0;
  std::optional<GroupFailure> failure_{};
};

}  // namespace switchyard::cpu
