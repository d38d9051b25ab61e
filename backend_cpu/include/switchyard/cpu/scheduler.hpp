// SPDX-License-Identifier: Apache-2.0
/// Scheduler: runs one body per rank and owns every wait, so that the same rank code runs on threads or on one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "switchyard/comm/clock.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard::cpu {

/// Runs rank bodies and lets them wait for each other.
///
/// The state that ranks share (mailboxes, arrival counts) is only touched between lock() and unlock(). wait_until()
/// gives the lock up while it waits, like a condition variable.
///
/// Ranks start with round-to-nearest and subnormals on, whatever the caller's float environment (DESIGN 2.7).
class Scheduler : public Clock {
 public:
  /// Runs `body(rank)` for rank 0 .. num_ranks-1, each exactly once, and returns when all have ended.
  /// Bodies should not let exceptions escape (run_ranks() wraps them); if one does, the first of them (by rank) is
  /// rethrown when all ranks have ended.
  /// @throws Error{invalid_argument} for num_ranks < 1 or when a run is under way on this scheduler;
  ///         Error{out_of_memory} when the system has no room for the ranks (nothing has run then).
  virtual void run(int num_ranks, std::function<void(RankId)> const& body) = 0;

  virtual void lock() = 0;
  virtual void unlock() = 0;
  /// Called by a rank with the lock held. Waits until `ready()` is true or now() >= deadline. `ready` must not throw.
  /// @return the last value of ready().
  /// @throws Error{timeout} (cooperative only) when every rank waits and none has a deadline: a deadlock.
  virtual bool wait_until(Instant deadline, std::function<bool()> const& ready) = 0;
  /// Wakes all waiters so that they look at their conditions again. Called with the lock held.
  virtual void notify_all() = 0;
};

/// One std::jthread per rank, steady clock, real concurrency.
[[nodiscard]] std::unique_ptr<Scheduler> make_thread_scheduler();

/// All ranks on the calling thread as cooperative fibers; a rank runs until it waits. Virtual time: the clock only
/// advances when every rank waits, and then jumps to the earliest deadline. Which ready rank runs next is drawn from
/// `seed` (0 = rank order, the bulk-synchronous driver): one seed, one interleaving. With a seed every wait is a point
/// at which another rank may go on, even when its condition holds already. Good for thousands of ranks.
/// Only the thread that called run() may use the scheduler while it runs. Ranks have 1 MiB of stack each (reserved,
/// not committed); a rank that needs more hits its guard page.
[[nodiscard]] std::unique_ptr<Scheduler> make_cooperative_scheduler(std::uint64_t seed = 0);

}  // namespace switchyard::cpu
