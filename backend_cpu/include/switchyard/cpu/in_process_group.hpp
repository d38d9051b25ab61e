// SPDX-License-Identifier: Apache-2.0
/// InProcessGroup: the communicators of a group of ranks that live in one process.
#pragma once

#include <memory>
#include <string>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cpu/scheduler.hpp"

namespace switchyard::cpu {

struct GroupOptions {
  Duration default_deadline = std::chrono::seconds(60);
  CheckLevel check = CheckLevel::digest;
};

class FaultHook;

/// Owns what the ranks of one group share; run_ranks() is the usual way to get one.
///
/// What its communicators promise beyond Communicator: a call completes on every rank or on none (a rank whose call
/// returned knows that every rank's call will return, even if the group fails a moment later), an error has the same
/// code and text on every rank, and a sender's buffer is not read any more once its call has ended, also by an
/// exception. A receiver copies straight from the sender's buffer: bytes move once. With CheckLevel::off a mismatch
/// stays inside the buffers: the common part of two lists that disagree moves.
/// @note every call costs O(ranks^2) comparisons on the last rank to arrive, unless the check is off.
class InProcessGroup {
 public:
  /// @param scheduler outlives the group and runs its ranks. @throws Error{invalid_argument} for num_ranks < 1.
  InProcessGroup(Scheduler& scheduler, int num_ranks, GroupOptions const& options);
  /// Tests only: `faults` (see the internal header fault_hook.hpp) outlives the group.
  InProcessGroup(Scheduler& scheduler, int num_ranks, GroupOptions const& options, FaultHook* faults);
  ~InProcessGroup();
  InProcessGroup(InProcessGroup const&) = delete;
  InProcessGroup& operator=(InProcessGroup const&) = delete;

  [[nodiscard]] int size() const noexcept;
  /// @return the rank's communicator, owned by the group; to be used by that rank only (except abort()).
  [[nodiscard]] Communicator& communicator(RankId rank);

  /// The rank will make no more calls. Ranks that wait for it, or will, get Error{desync} naming it.
  void rank_ended(RankId rank);
  /// The rank ended by an exception: wakes everybody with Error{aborted} carrying `reason`.
  void rank_failed(RankId rank, std::string const& reason);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cpu
