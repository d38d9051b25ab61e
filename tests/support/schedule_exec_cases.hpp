// SPDX-License-Identifier: Apache-2.0
/// Emulated ranks with tagged memory that carry a schedule or a plan out in any way, and note how they ended.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "support/rank_harness_cpu.hpp"
#include "switchyard/cpu/internal/rebalance_steps.hpp"
#include "switchyard/cpu/internal/tagged_weights.hpp"
#include "switchyard/cpu/schedule_executor.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"
#include "switchyard/rebalance/weight_tag.hpp"

namespace switchyard::test {

using cpu::RebalanceMode;
using cpu::RebalanceOptions;
using cpu::RebalanceStep;
using cpu::RebalanceStepKind;
using cpu::ScheduleExecutor;
using cpu::TaggedWeights;

inline std::vector<std::int64_t> const kRowBytes{24, 9};
constexpr std::int64_t kExpertBytes = 33;

/// How a schedule is carried out.
enum class Way { buffered, in_place, stepwise, profile };
constexpr Way kWays[] = {Way::buffered, Way::in_place, Way::stepwise, Way::profile};
inline char const* name_of(Way way) {
  constexpr char const* kNames[] = {"buffered", "in place", "layer by layer", "profile"};
  return kNames[static_cast<int>(way)];
}

inline ExpertPlacement placement(int experts, std::vector<std::int32_t> const& slots_per_rank,
                                 std::vector<int> const& ids) {
  std::vector<ExpertId> slots;
  for (int id : ids) slots.emplace_back(id);
  SlotLayout const layout(slots_per_rank);
  return {static_cast<int>(ids.size()) / layout.num_slots(), experts, layout, slots};
}

/// The memory of all ranks, which outlives what happens to them.
struct Cluster {
  explicit Cluster(ExpertPlacement const& before) {
    for (RankId rank(0); rank.value() < before.num_ranks(); ++rank)
      memory.push_back(std::make_unique<TaggedWeights>(before, rank, kRowBytes));
  }
  std::vector<std::unique_ptr<TaggedWeights>> memory;
};

inline bool has_tags(std::span<std::byte const> row, int layer, ExpertId expert, int tensor) {
  return !first_wrong_tag(row, layer, expert, tensor);
}

/// Every slot of a rank that `placement` fills holds its expert's bytes.
inline bool rows_are_right(TaggedWeights const& memory, ExpertPlacement const& placement, RankId rank) {
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    auto const slots = placement.rank_slots(layer, rank);
    for (LocalExpertId row(0); row.index() < slots.size(); ++row)
      for (int t = 0; t < 2; ++t)
        if (slots[row.index()].valid() && !has_tags(memory.weights().row(layer, t, row), layer, slots[row.index()], t))
          return false;
  }
  return true;
}

/// What one rank knows when it has ended.
struct RankAfter {
  ExpertPlacement committed{};
  std::vector<cpu::SpareCopy> spare{};
  bool spare_is_right = true;
  cpu::RebalanceResult result{};
};

inline void note(ScheduleExecutor const& executor, RankAfter& after) {
  after.committed = executor.committed_placement();
  after.spare = executor.spare_copies();
  after.result = executor.result();
  for (auto const& copy : after.spare)
    for (int t = 0; t < 2; ++t)
      after.spare_is_right = after.spare_is_right && has_tags(executor.spare_row(copy, t), copy.layer, copy.expert, t);
}

template <typename Executor>
void carry_out(Executor& executor, Way way, int layers, Communicator& comm, RegisteredWeights const& weights) {
  if (way == Way::profile) {
    executor.profile(comm, weights);
  } else if (way == Way::stepwise) {
    for (int layer = layers - 1; layer >= 0; --layer) {
      executor.begin(comm, weights, layer);
      while (!executor.poll()) {
      }
      executor.commit();
    }
  } else {
    executor.execute(comm, weights);
  }
}

inline RebalanceOptions options_of(Way way) {
  return {.mode = way == Way::buffered ? RebalanceMode::buffered : RebalanceMode::in_place};
}

/// Runs the schedule on one rank of the plan and notes the end, whatever it is.
inline void run_rank(RebalanceSchedule const& schedule, Way way, Communicator& comm, TaggedWeights const& memory,
                     RankAfter& after, cpu::RebalanceStepHook const& hook = nullptr) {
  ScheduleExecutor executor(schedule, options_of(way));
  cpu::ScheduleExecutorAccess::set_step_hook(executor, hook);
  try {
    carry_out(executor, way, schedule.before.num_layers(), comm, memory.weights());
  } catch (...) {
    note(executor, after);
    throw;
  }
  note(executor, after);
}

inline bool can(Way way, RebalanceSchedule const& schedule) {
  return way == Way::in_place || way == Way::profile || schedule.limits.spare_rows == ScheduleLimits::kFullyBuffered;
}

inline RebalanceSchedule worked(int spare_rows) {
  return plan_schedule(
      placement(5, {3, 3, 3, 3}, {0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0, 0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0}),
      placement(5, {3, 3, 3, 3}, {3, 1, 0, 0, 2, 4, 3, 3, 1, -1, 4, 2, 0, 2, 1, 3, 0, 0, 1, -1, 3, 4, 2, 1}), {},
      {.spare_rows = spare_rows});
}

}  // namespace switchyard::test
