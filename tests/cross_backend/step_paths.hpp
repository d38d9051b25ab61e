// SPDX-License-Identifier: Apache-2.0
/// Steps through every path of StepExecutor, each forced and the one chosen: which cases, and what must hold.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "graph_replay.hpp"
#include "step_rank.hpp"

namespace cross_backend {

constexpr cuda::StepPath kStepPaths[] = {cuda::StepPath::fused, cuda::StepPath::slots, cuda::StepPath::exact};

/// Two steps, and where the path can be captured over this communicator three replays with another routing.
template <typename T>
void run_steps(PairReport& report, StepRank<T>& rank, Communicator& comm) {
  for (std::uint64_t seed = 1; seed < 3; ++seed) {
    rank.draw(seed);
    rank.step();
    rank.compare(" step " + std::to_string(seed));
  }
  if (rank.steps().path() == cuda::StepPath::fused && rank.steps().capturable()) {
    rank.draw(3);
    rank.plan();
    rank.make_outputs();
    rank.stream().synchronize();
    comm.barrier({.operation = "before capture"});
    if (!replay(rank.stream(), 3, [&] { rank.dispatch_and_combine(); }))
      report.failed(rank.name() + ": could not be captured");
    rank.compare(" replayed");
  }
  comm.barrier({.operation = "steps end"});
}

/// The case on every path that takes it, then on the one chosen, which must be the best of them.
template <typename T>
void compare_case(PairReport& report, StepCase const& given, cuda::StepExecutor::Group group) {
  Communicator& comm = group.host;
  auto options = given.options(comm.size(), dtype_of<T>::value);
  std::optional<cuda::StepPath> best;
  for (auto const path : kStepPaths) {
    options.path = path;
    try {
      StepRank<T> rank(report, given, group, options);
      if (!best) best = path;
      run_steps(report, rank, comm);
    } catch (Error const& error) {
      if (error.code() != ErrorCode::unsupported) throw;
      if (path == cuda::StepPath::exact) report.failed(given.name() + ": " + error.what());
    }
  }
  options.path.reset();
  StepRank<T> rank(report, given, group, options);
  run_steps(report, rank, comm);
  report.compared(1);
  if (rank.steps().path() != best || rank.steps().reason().empty() != (best == cuda::StepPath::fused))
    report.failed(given.name() + ": took " + std::string(to_string(rank.steps().path())) + " because " +
                  rank.steps().reason());
  if (comm.rank().value() == 0)
    std::printf("%s: %s (%s)\n", given.name().c_str(), std::string(to_string(rank.steps().path())).c_str(),
                rank.steps().reason().c_str());
}

/// Routing at fault, and too many rows: zeros and errors everywhere; the object works afterwards where that is
/// promised.
inline void fail_steps(PairReport& report, cuda::StepExecutor::Group group, bool is_overflow) {
  StepCase given;
  if (is_overflow) given.max_expert_rows = 1;
  auto options = given.options(group.host.size(), DType::bf16);
  for (auto const path : kStepPaths) {
    options.path = path;
    try {
      StepRank<bf16_t> rank(report, given, group, options);
      int const bad_rank = is_overflow ? -1 : group.host.size() - 1;
      rank.draw(4, bad_rank);
      rank.plan();
      rank.make_outputs();
      rank.dispatch_and_combine();
      auto const code = rank.failed(is_overflow ? " overflow" : " bad id");
      bool const is_spent = path == cuda::StepPath::fused;
      bool const is_own = !is_spent || is_overflow || group.host.rank().value() == bad_rank;
      ErrorCode const own = is_overflow ? ErrorCode::shape_mismatch : ErrorCode::invalid_argument;
      report.compared(1);
      if (code != (is_own ? own : ErrorCode::aborted))
        report.failed(rank.name() + ": answered with " + (code ? std::string(to_string(*code)) : "nothing"));
      if (!is_spent && !is_overflow) run_steps(report, rank, group.host);
      group.host.barrier({.operation = "refused steps end"});
    } catch (Error const& error) {
      if (error.code() != ErrorCode::unsupported) throw;
    }
  }
}

/// Ranks that disagree all hear of it.
inline void refuse_other_options(PairReport& report, cuda::StepExecutor::Group group) {
  if (group.host.size() < 2) return;
  StepCase given;
  given.hidden = group.host.rank().value() == 0 ? 128 : 64;
  ErrorCode code = ErrorCode::internal;
  try {
    StepRank<bf16_t> const rank(report, given, group, given.options(group.host.size(), DType::bf16));
  } catch (Error const& error) {
    code = error.code();
  }
  report.compared(1);
  if (code != ErrorCode::desync) report.failed("steps of other options: " + std::string(to_string(code)));
}

inline std::vector<StepCase> step_cases(int ranks) {
  constexpr auto kHost = cuda::StepPlanning::host;
  constexpr auto kDevice = cuda::StepPlanning::device;
  std::vector<StepCase> cases{
      {Dispatcher::flex, CombineRecipe::rank_partial(), kDevice, 64},
      {Dispatcher::flex, CombineRecipe::rank_partial(), kHost, 64},
      {Dispatcher::flex, CombineRecipe::rank_partial(), kDevice, 36},
      {Dispatcher::flex, CombineRecipe::source_slot_order(), kDevice, 64},
      {Dispatcher::allgather, CombineRecipe::exact(), kDevice, 64},
      {Dispatcher::alltoall_rank_major, CombineRecipe::source_slot_order(), kDevice, 64},
      {Dispatcher::alltoall_tp_major, CombineRecipe::source_expert_order(), kDevice, 36},
      {Dispatcher::alltoall_rank_major, CombineRecipe::source_expert_order(), kHost, 5},
      {Dispatcher::megablocks_exact, CombineRecipe::megablocks(), kHost, 64},
  };
  cases[0].use_shared = true;
  cases[5].exact_splits = true;
  if (ranks % 2 == 0) cases.push_back({Dispatcher::flex, CombineRecipe::rank_partial(), kDevice, 64, 2});
  return cases;
}

/// Everything above. @param few for slow tools
inline void compare_step_paths(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm,
                               bool few) {
  cuda::StepExecutor::Group const group{comm, device_comm};
  auto cases = step_cases(comm.size());
  if (few) cases.resize(2);
  for (StepCase const& given : cases) {
    compare_case<bf16_t>(report, given, group);
    if (!few && given.tp == 1) compare_case<float>(report, given, group);
  }
  fail_steps(report, group, false);
  fail_steps(report, group, true);
  refuse_other_options(report, group);
}

}  // namespace cross_backend
