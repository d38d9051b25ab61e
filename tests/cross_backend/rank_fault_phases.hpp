// SPDX-License-Identifier: Apache-2.0
/// The phases in which a rank of switchyard_nccl_ranks is killed or stopped: what every rank does until then.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "conformance/ragged_calls.hpp"
#include "fused_planned.hpp"
#include "rank_faults.hpp"
#include "rank_faults_rebalance.hpp"
#include "striking_communicator.hpp"

namespace cross_backend {

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

/// @throws Error where there is none: these phases have no other way to run
inline cuda::FusedExecutor::Attempt require_fused_path(Communicator& comm, cuda::FusedOptions options) {
  options.deadline = std::chrono::seconds(3);
  options.setup_deadline = std::chrono::seconds(5);
  auto attempt = cuda::FusedExecutor::create(comm, options);
  if (attempt.executor == nullptr) throw Error(ErrorCode::unsupported, "no fused path here: " + attempt.reason);
  return attempt;
}

[[noreturn]] inline void fuse_forever(cuda::NcclCommunicator& comm, RankFault const& fault) {
  auto const attempt = require_fused_path(comm, {64, FusedCase::kHidden * 4, 16});
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

[[noreturn]] inline void plan_forever(cuda::NcclCommunicator& comm, RankFault const& fault) {
  auto const attempt = require_fused_path(comm, planned_options());
  PlannedSteps<bf16_t> steps(comm, *attempt.executor, {});
  for (int step = 0;; ++step) {
    steps.draw(step);
    fault.strike(comm, step);
    steps.step();
    steps.check();
  }
}

/// The victim is gone when the others say whether they have memory, or when they make the group inside NCCL.
[[noreturn]] inline void create_forever(cuda::NcclCommunicator& comm, RankFault const& fault) {
  int const call = fault.phase == "create_memory" ? 1 : 2;
  StrikingCommunicator striking(comm, call, [&] { fault.strike(comm.rank().value()); });
  for (;;) static_cast<void>(require_fused_path(striking, planned_options()));
}

inline int survive(cuda::NcclCommunicator& comm, RankFault const& fault) {
  return survive_in(comm, fault, [&] {
    if (fault.phase == "exchange") exchange_forever(comm, fault);
    if (fault.phase == "fused") fuse_forever(comm, fault);
    if (fault.phase == "planned") plan_forever(comm, fault);
    if (fault.phase == "rebalance") rebalance_forever(comm, [&](int step) { fault.strike(comm, step); });
    if (fault.phase == "create_memory" || fault.phase == "create_group") create_forever(comm, fault);
    call_forever(comm, fault);
  });
}

/// The victim does not come to NCCL's start.
inline int survive_init(launch::ControlClient& control, RankFault const& fault) {
  fault.strike(control.rank());
  auto const start = [&] { static_cast<void>(cuda::NcclHandle::create(control, std::chrono::seconds(5))); };
  return survive_as(control.rank(), fault, start, [] { return std::string(); });
}

}  // namespace cross_backend
