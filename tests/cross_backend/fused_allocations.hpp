// SPDX-License-Identifier: Apache-2.0
/// The fused path on a rank that lacks memory: FusedExecutor::create() tells all ranks and can be called again, and
/// prepare() leaves the executor as it was.
#pragma once

#include <string>

#include "allocation_faults.hpp"
#include "fused_planned.hpp"
#include "fused_steps.hpp"

namespace cross_backend {

/// The last rank's allocation number `skip` fails. @return whether that is what all ranks were told
inline bool create_without_memory(PairReport& report, cuda::NcclCommunicator& comm, int skip,
                                  cuda::FusedExecutor::Attempt& attempt) {
  int const poor = comm.size() - 1;
  std::string text;
  cuda::fail_allocation_after(comm.rank().value() == poor ? skip : -1);
  try {
    attempt = fused_executor(comm, kFewRows);
    text = attempt.reason;
  } catch (Error const& error) {
    text = error.what();
    if (error.code() != ErrorCode::out_of_memory)
      report.failed("FusedExecutor::create with failed allocation " + std::to_string(skip) + " ended with " + text);
  }
  cuda::fail_allocation_after(-1);
  report.compared(1);
  return text.find("rank " + std::to_string(poor)) != std::string::npos &&
         text.find("could not be allocated") != std::string::npos;
}

/// A rank's own call, which no other rank waits for, with its first, second, ... allocation failing.
template <typename Call>
void fail_local_allocations(PairReport& report, std::string const& name, Call const& call) {
  int skip = 0;
  while (runs_out_of_memory(report, name, skip, call)) ++skip;
  report.compared(static_cast<std::size_t>(skip));
  if (skip == 0) report.failed(name + " allocates nothing: no failure was seen");
}

inline void fuse_without_memory(PairReport& report, cuda::NcclCommunicator& comm) {
  constexpr int kMostAllocations = 64;
  cuda::FusedExecutor::Attempt attempt;
  int skip = 0;
  while (skip < kMostAllocations && create_without_memory(report, comm, skip, attempt)) ++skip;
  if (!has_fused_path(comm, attempt)) return;
  if (skip == 0) report.failed("FusedExecutor::create allocates nothing: no failure was seen");
  FusedCase const given(comm, kFewRows.tokens);
  fail_local_allocations(report, "FusedExecutor::prepare",
                         [&] { static_cast<void>(attempt.executor->prepare(given.device_plan)); });
  auto const planned = planned_executor(comm);
  if (!has_fused_path(comm, planned)) return;
  for (auto const kernels : kPlanKernels)
    fail_local_allocations(report, "FusedExecutor::prepare for steps" + name_of(kernels),
                           [&] { PlannedSteps<bf16_t>(comm, *planned.executor, {kernels}); });
  compare_fused_as<bf16_t>(report, comm, *attempt.executor, given, kFewRows, "fused after failed allocations");
}

}  // namespace cross_backend
