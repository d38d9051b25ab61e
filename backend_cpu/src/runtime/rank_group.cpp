// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/rank_group.hpp"

#include <algorithm>
#include <exception>

#include "switchyard/cpu/internal/fault_hook.hpp"

namespace switchyard::cpu {
namespace {

/// A rank's outcome with the exception itself, so that run_ranks() rethrows what was thrown.
struct RankEnd {
  RankOutcome outcome{};
  std::exception_ptr exception{};
};

RankOutcome outcome_of(std::exception_ptr const& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (Error const& error) {
    return {true, error.code(), error.what()};
  } catch (std::exception const& error) {
    return {true, ErrorCode::internal, error.what()};
  } catch (...) {
    return {true, ErrorCode::internal, "an exception that is not a std::exception"};
  }
}

RankEnd run_one(InProcessGroup& group, RankId rank, std::function<void(Communicator&)> const& body) {
  RankEnd end;
  try {
    body(group.communicator(rank));
  } catch (...) {
    end.exception = std::current_exception();
  }
  if (end.exception) {
    end.outcome = outcome_of(end.exception);
    group.rank_failed(rank, end.outcome.text);
  } else {
    group.rank_ended(rank);
  }
  return end;
}

std::vector<RankEnd> run_group(Scheduler& scheduler, int num_ranks, GroupOptions const& options, FaultHook* faults,
                               std::function<void(Communicator&)> const& body) {
  InProcessGroup group(scheduler, num_ranks, options, faults);
  std::vector<RankEnd> ends(static_cast<std::size_t>(num_ranks));
  scheduler.run(num_ranks, [&](RankId rank) { ends[rank.index()] = run_one(group, rank, body); });
  return ends;
}

std::vector<RankOutcome> outcomes_of(std::vector<RankEnd> const& ends) {
  std::vector<RankOutcome> outcomes;
  outcomes.reserve(ends.size());
  for (RankEnd const& end : ends) outcomes.push_back(end.outcome);
  return outcomes;
}

}  // namespace

std::vector<RankOutcome> run_ranks_with_faults(Scheduler& scheduler, int num_ranks, GroupOptions const& options,
                                               FaultHook* faults, std::function<void(Communicator&)> const& body) {
  return outcomes_of(run_group(scheduler, num_ranks, options, faults, body));
}

std::vector<RankOutcome> run_ranks_collect(Scheduler& scheduler, int num_ranks, GroupOptions const& options,
                                           std::function<void(Communicator&)> const& body) {
  return outcomes_of(run_group(scheduler, num_ranks, options, nullptr, body));
}

void run_ranks(Scheduler& scheduler, int num_ranks, GroupOptions const& options,
               std::function<void(Communicator&)> const& body) {
  auto const ends = run_group(scheduler, num_ranks, options, nullptr, body);
  auto const failed = [](RankEnd const& end) { return end.outcome.failed; };
  auto const is_cause = [](RankEnd const& end) { return end.outcome.failed && end.outcome.code != ErrorCode::aborted; };
  auto cause = std::find_if(ends.begin(), ends.end(), is_cause);
  if (cause == ends.end()) cause = std::find_if(ends.begin(), ends.end(), failed);
  if (cause != ends.end()) std::rethrow_exception(cause->exception);
}

}  // namespace switchyard::cpu
