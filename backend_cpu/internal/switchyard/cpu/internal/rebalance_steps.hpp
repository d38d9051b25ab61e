// SPDX-License-Identifier: Apache-2.0
/// RebalanceStepHook: tests stop a RebalanceExecutor or a ScheduleExecutor at every numbered step. Not installed.
#pragma once

#include <functional>
#include <utility>

#include "switchyard/cpu/rebalance_executor.hpp"
#include "switchyard/cpu/schedule_executor.hpp"

namespace switchyard::cpu {

enum class RebalanceStepKind {
  check,
  agree,
  stage,
  exchange,
  verify,
  acknowledge,
  write_row,
  write_duplicates,
  verify_written,
  profile
};

/// The executor is about to do this; a hook that throws is a rank that fails there.
struct RebalanceStep {
  int number;  ///< 0, 1, 2 ... on this rank
  RebalanceStepKind kind;
  int layer;        ///< -1 when it concerns no single layer
  bool committing;  ///< after the acknowledgement that makes the layer (or round, or everything) final
  int round = -1;   ///< of a schedule
};
using RebalanceStepHook = std::function<void(RebalanceStep const&)>;

struct RebalanceExecutorAccess {
  static void set_step_hook(RebalanceExecutor& executor, RebalanceStepHook hook);
};
struct ScheduleExecutorAccess {
  static void set_step_hook(ScheduleExecutor& executor, RebalanceStepHook hook);
};

}  // namespace switchyard::cpu
