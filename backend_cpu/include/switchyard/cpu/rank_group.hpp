// SPDX-License-Identifier: Apache-2.0
/// run_ranks: emulates a group of ranks inside one process over an InProcessCommunicator.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cpu/in_process_group.hpp"
#include "switchyard/cpu/scheduler.hpp"

namespace switchyard::cpu {

/// How every rank of a run ended.
struct RankOutcome {
  bool failed = false;
  ErrorCode code = ErrorCode::internal;
  std::string text{};  ///< what() of the exception
};

/// Runs `body` once per rank with that rank's communicator. A rank that ends with an exception aborts the group, so
/// that no other rank waits for it; a rank that returns while others wait for it, or will, gives them Error{desync}
/// naming it.
/// @return one outcome per rank.
[[nodiscard]] std::vector<RankOutcome> run_ranks_collect(Scheduler& scheduler, int num_ranks,
                                                         GroupOptions const& options,
                                                         std::function<void(Communicator&)> const& body);

/// The same, and rethrows the root cause: the exception of the first rank (by rank) that failed with something other
/// than `aborted`, or of the first that failed at all when there is no other.
void run_ranks(Scheduler& scheduler, int num_ranks, GroupOptions const& options,
               std::function<void(Communicator&)> const& body);

}  // namespace switchyard::cpu
