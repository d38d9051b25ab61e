// SPDX-License-Identifier: Apache-2.0
/// A rank that is killed or stopped in the middle of a phase, and what the others must get: a typed error within their
/// deadlines that names it. SWITCHYARD_DIE_AT names the rank, SWITCHYARD_DIE_BY the signal (KILL, the default, or STOP)
/// and SWITCHYARD_DIE_IN the phase: calls (the default), exchange (unchecked moves on a stream) or fused.
#pragma once

#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "conformance/ragged_calls.hpp"
#include "fused_case.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace cross_backend {

struct RankFault {
  int victim = 0;
  int signal = SIGKILL;
  std::string phase = "calls";

  /// The victim does not return, or not before somebody continues it.
  void strike(Communicator const& comm, int step) const {
    constexpr int kStep = 10;
    if (comm.rank().value() == victim && step == kStep) static_cast<void>(std::raise(signal));
  }
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

[[noreturn]] inline void call_forever(cuda::NcclCommunicator& comm, RankFault const& fault) {
  for (int call = 0;; ++call) {
    fault.strike(comm, call);
    switchyard::test::mixed_call(comm, call, 256);
  }
}

[[noreturn]] inline void exchange_forever(cuda::NcclCommunicator& comm, RankFault const& fault) {
  constexpr std::int64_t kBytes = std::int64_t{8} << 20;
  cuda::Stream const stream;
  cuda::DeviceBuffer const out(kBytes);
  cuda::DeviceBuffer const in(kBytes * comm.size());
  cuda::fill_bytes(out, 1, stream);
  std::vector<cuda::DeviceSend> sends;
  std::vector<cuda::DeviceReceive> receives;
  for (int peer = 0; peer < comm.size(); ++peer) {
    sends.push_back({RankId(peer), out.data(), kBytes});
    receives.push_back({RankId(peer), in.as<std::byte>() + peer * kBytes, kBytes});
  }
  for (int step = 0;; ++step) {
    fault.strike(comm, step);
    comm.exchange_on(stream, sends, receives, {.operation = "exchange"});
    comm.wait(stream);
  }
}

[[noreturn]] inline void fuse_forever(cuda::NcclCommunicator& comm, RankFault const& fault) {
  cuda::FusedOptions options{64, FusedCase::kHidden * 4, 16};
  options.deadline = std::chrono::seconds(3);
  auto const attempt = cuda::FusedExecutor::create(comm, options);
  if (attempt.executor == nullptr) throw Error(ErrorCode::aborted, "no fused path here: " + attempt.reason);
  FusedCase const plan(comm);
  cuda::FusedPlan fused_plan = attempt.executor->prepare(plan.device_plan);
  cuda::Stream const stream;
  cuda::DeviceBuffer const tokens(plan.plan.num_tokens * FusedCase::kHidden * 2);
  cuda::DeviceBuffer const rows(plan.plan.num_expert_rows() * FusedCase::kHidden * 2);
  cuda::fill_bytes(tokens, 0, stream);
  for (int step = 0;; ++step) {
    fault.strike(comm, step);
    auto const token_view = tokens.view(DType::bf16, {plan.plan.num_tokens, FusedCase::kHidden});
    auto const row_view = rows.view(DType::bf16, {plan.plan.num_expert_rows(), FusedCase::kHidden});
    attempt.executor->dispatch(fused_plan, token_view, plan.weight_view(), row_view, stream);
    attempt.executor->combine(fused_plan, row_view, token_view, stream);
    attempt.executor->check(stream);
  }
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

/// @param loop does not return @return 0 when this rank got an error that says so and names the victim
template <typename Loop>
int survive_in(cuda::NcclCommunicator& comm, RankFault const& fault, Loop const& loop) {
  auto const start = std::chrono::steady_clock::now();
  try {
    loop();
    return 1;
  } catch (Error const& error) {
    auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::string text = error.what();
    if (fault.phase == "fused") text += "; the group: " + verdict_of_group(comm);
    std::printf("rank %d survived for %.2f s: %s\n", comm.rank().value(), seconds, text.c_str());
    if (!names_victim(text, fault.victim)) {
      std::printf("rank %d: that does not say that rank %d is gone\n", comm.rank().value(), fault.victim);
      return 1;
    }
    return error.code() == ErrorCode::aborted || error.code() == ErrorCode::timeout ? 0 : 1;
  }
}

inline int survive(cuda::NcclCommunicator& comm, RankFault const& fault) {
  return survive_in(comm, fault, [&] {
    if (fault.phase == "exchange") exchange_forever(comm, fault);
    if (fault.phase == "fused") fuse_forever(comm, fault);
    call_forever(comm, fault);
  });
}

}  // namespace cross_backend
