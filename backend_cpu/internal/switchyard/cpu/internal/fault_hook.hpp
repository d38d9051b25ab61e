// SPDX-License-Identifier: Apache-2.0
/// FaultHook: how tests disturb an InProcessGroup. Not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace switchyard::cpu {

/// Called by every rank at the points where a real transport can fail. Called without the scheduler's lock; may wait
/// through the scheduler (a delay), throw (a rank that dies there) or damage what arrived.
class FaultHook {
 public:
  virtual ~FaultHook() = default;
  /// `rank` is about to post call number `sequence`.
  virtual void before_post(RankId /*rank*/, std::int64_t /*sequence*/) {}
  /// `receiver` has copied the messages that `sender` posted for it and has not verified them yet.
  virtual void after_copy(RankId /*receiver*/, RankId /*sender*/, std::int64_t /*sequence*/,
                          std::span<std::span<std::byte> const> /*messages*/) {}
};

/// run_ranks_collect() with faults.
[[nodiscard]] std::vector<RankOutcome> run_ranks_with_faults(Scheduler& scheduler, int num_ranks,
                                                             GroupOptions const& options, FaultHook* faults,
                                                             std::function<void(Communicator&)> const& body);

}  // namespace switchyard::cpu
