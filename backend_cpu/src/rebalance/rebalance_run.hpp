// SPDX-License-Identifier: Apache-2.0
/// RebalanceRun: what both executors keep of one rank's run: its options, its numbered steps, its place in the group
/// and what the group must agree on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "group_view.hpp"
#include "switchyard/comm/communicator.hpp"
#include "switchyard/cpu/internal/rebalance_steps.hpp"
#include "switchyard/cpu/rebalance_executor.hpp"

namespace switchyard::cpu {

/// What a run carries out, as a group sees it.
struct RebalanceSubject {
  char const* name;  ///< "plan" or "schedule"
  ExpertPlacement const& before;
  std::vector<RankId> const& dead_ranks;
  std::uint64_t fingerprint = 0;
};

struct RebalanceRun {
  explicit RebalanceRun(RebalanceOptions const& given) : options(given) {}

  [[nodiscard]] CallOptions call(std::string_view operation) const {
    return {.operation = operation, .configuration = agreement, .deadline = options.deadline};
  }
  void step(RebalanceStepKind kind, int layer = -1, bool committing = false, int round = -1) {
    if (hook) hook({next_step, kind, layer, committing, round});
    ++next_step;
  }
  /// Finds this rank's place in the group and what the group must agree on. @throws Error{shape_mismatch} unless the
  /// weights have the subject's layers and this rank's slots
  void join(RebalanceSubject const& subject, Communicator& comm, RegisteredWeights const& weights);
  /// After this every rank holds all its rows, so that every rank may overwrite.
  void acknowledge(Communicator& comm, std::string const& operation, int layer);

  RebalanceOptions options;
  RebalanceStepHook hook{};
  int next_step = 0;
  GroupView group{};
  std::uint64_t agreement = 0;
  RebalanceResult result{};
};

}  // namespace switchyard::cpu
