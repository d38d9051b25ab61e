// SPDX-License-Identifier: Apache-2.0
/// A rank that is killed or stopped in the middle of a phase, and what the others must get: a typed error within their
/// deadlines that names it. SWITCHYARD_DIE_AT names the rank, SWITCHYARD_DIE_BY the signal (KILL, the default, or STOP)
/// and SWITCHYARD_DIE_IN the phase: calls (the default), exchange (unchecked moves on a stream), fused, planned (fused
/// steps that plan for themselves), rebalance, init (before the NCCL communicator exists), create_memory and
/// create_group (inside FusedExecutor::create); of switchyard_nccl_budget: slots and replay.
#pragma once

#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "switchyard/cuda/nccl_communicator.hpp"

namespace cross_backend {

struct RankFault {
  int victim = 0;
  int signal = SIGKILL;
  std::string phase = "calls";

  static constexpr int kStep = 10;

  /// The victim does not return, or not before somebody continues it.
  void strike(int rank) const {
    if (rank == victim) static_cast<void>(std::raise(signal));
  }
  void strike(Communicator const& comm, int step) const {
    if (step == kStep) strike(comm.rank().value());
  }
  /// Whether an error of this phase may name the first peer that gave up instead of the victim.
  [[nodiscard]] bool is_fused() const { return phase == "fused" || phase == "planned"; }
};

inline std::optional<RankFault> asked_fault() {
  auto const text = [](char const* name) {
    char const* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (text("SWITCHYARD_DIE_AT").empty()) return std::nullopt;
  RankFault fault;
  fault.victim = std::atoi(text("SWITCHYARD_DIE_AT").c_str());
  if (text("SWITCHYARD_DIE_BY") == "STOP") fault.signal = SIGSTOP;
  if (!text("SWITCHYARD_DIE_IN").empty()) fault.phase = text("SWITCHYARD_DIE_IN");
  return fault;
}

/// Short deadlines; no checks in the phase that is about NCCL's own waiting.
inline cuda::NcclOptions options_under(RankFault const& fault) {
  cuda::NcclOptions options;
  options.default_deadline = std::chrono::seconds(5);
  if (fault.phase == "exchange") options.check = CheckLevel::off;
  return options;
}

/// Whether an error's text says which rank died, or which one did not come. The victim is never this rank.
inline bool names_victim(std::string const& text, int victim) {
  std::string const rank = "rank " + std::to_string(victim);
  for (char const* const way : {"the connection to ", "missing: ", "not finished: ", "the control server of "}) {
    auto const at = text.find(way + rank);
    if (at != std::string::npos && std::isdigit(text[at + std::strlen(way) + rank.size()]) == 0) return true;
  }
  return false;
}

/// What the group knows after an error of a fused call, which names the first peer that gave up.
inline std::string verdict_of_group(cuda::NcclCommunicator& comm) {
  try {
    comm.barrier({.operation = "who is there"});
    return "all are there";
  } catch (Error const& error) {
    return error.what();
  }
}

/// @param loop does not return @param verdict adds to an error's text
/// @return 0 when this rank got an error that says so and names the victim
template <typename Loop, typename Verdict>
int survive_as(int rank, RankFault const& fault, Loop const& loop, Verdict const& verdict) {
  auto const start = std::chrono::steady_clock::now();
  try {
    loop();
    return 1;
  } catch (Error const& error) {
    auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::string const text = error.what() + verdict();
    std::printf("rank %d survived for %.2f s: %s\n", rank, seconds, text.c_str());
    if (!names_victim(text, fault.victim)) {
      std::printf("rank %d: that does not say that rank %d is gone\n", rank, fault.victim);
      return 1;
    }
    return error.code() == ErrorCode::aborted || error.code() == ErrorCode::timeout ? 0 : 1;
  }
}
template <typename Loop>
int survive_in(cuda::NcclCommunicator& comm, RankFault const& fault, Loop const& loop) {
  return survive_as(comm.rank().value(), fault, loop,
                    [&] { return fault.is_fused() ? "; the group: " + verdict_of_group(comm) : std::string(); });
}

}  // namespace cross_backend
