// SPDX-License-Identifier: Apache-2.0
#include "switchyard/rebalance/rank_mapping.hpp"

#include <algorithm>
#include <utility>

#include "request_problems.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

using rebalance::find_size_problems;

class ProblemList {
 public:
  template <typename... Args>
  void add(PlanRule rule, fmt::format_string<Args...> text, Args&&... args) {
    problems_.push_back({rule, -1, RankId(-1), fmt::format(text, std::forward<Args>(args)...)});
  }
  [[nodiscard]] std::vector<PlanViolation> take() { return std::move(problems_); }

 private:
  std::vector<PlanViolation> problems_;
};

void check_same_layout(SlotLayout const& before, SlotLayout const& after, ProblemList& problems) {
  if (before.num_ranks() != after.num_ranks()) {
    problems.add(PlanRule::shape_mismatch,
                 "before has {} ranks and after {}: give a rank mapping with mode scale_up or scale_down",
                 before.num_ranks(), after.num_ranks());
    return;
  }
  for (std::int32_t rank = 0; rank < before.num_ranks(); ++rank) {
    int const old_slots = before.slots_of(RankId(rank));
    int const new_slots = after.slots_of(RankId(rank));
    if (old_slots != new_slots) {
      problems.add(
          PlanRule::shape_mismatch,
          "rank {} has {} slots before and {} after: a rebalance moves experts between slots, it cannot change "
          "their number",
          rank, old_slots, new_slots);
      return;
    }
  }
}

/// A rank keeps its slots when it changes its number; only joining and leaving ranks may have any number of them.
void check_continuing_slots(SlotLayout const& before, SlotLayout const& after, RankMapping const& mapping,
                            ProblemList& problems) {
  std::size_t const ranks = std::min(mapping.new_rank_of.size(), to_size(before.num_ranks()));
  for (std::size_t old_rank = 0; old_rank < ranks; ++old_rank) {
    RankId const from(static_cast<std::int32_t>(old_rank));
    RankId const to = mapping.new_rank_of[old_rank];
    if (to.value() < 0 || to.value() >= after.num_ranks() || before.slots_of(from) == after.slots_of(to)) {
      continue;
    }
    problems.add(
        PlanRule::shape_mismatch,
        "old rank {} has {} slots and continues as new rank {} with {}: a rank keeps its number of slots, only "
        "ranks that join or leave are free; place the experts on a layout that keeps it",
        old_rank, before.slots_of(from), to.value(), after.slots_of(to));
    return;
  }
}

/// @return old rank of every new rank, -1 for one that no old rank becomes.
std::vector<std::int32_t> check_targets(RankMapping const& mapping, int num_new_ranks, ProblemList& problems) {
  std::vector<std::int32_t> old_rank_of(to_size(num_new_ranks), -1);
  for (std::size_t old_rank = 0; old_rank < mapping.new_rank_of.size(); ++old_rank) {
    RankId const target = mapping.new_rank_of[old_rank];
    if (target.value() < -1 || target.value() >= num_new_ranks) {
      problems.add(PlanRule::invalid_mapping, "old rank {} maps to {}, outside [-1, {}) where -1 is a rank that leaves",
                   old_rank, target.value(), num_new_ranks);
    } else if (target.valid() && old_rank_of[target.index()] >= 0) {
      problems.add(PlanRule::invalid_mapping,
                   "old ranks {} and {} both map to new rank {}: a new rank continues one old rank",
                   old_rank_of[target.index()], old_rank, target.value());
    } else if (target.valid()) {
      old_rank_of[target.index()] = static_cast<std::int32_t>(old_rank);
    }
  }
  return old_rank_of;
}

void check_scaling(ExpertPlacement const& before, ExpertPlacement const& after, RankMapping const& mapping,
                   ProblemList& problems) {
  if (mapping.new_rank_of.size() != to_size(before.num_ranks())) {
    problems.add(PlanRule::shape_mismatch,
                 "the rank mapping has {} entries but before has {} ranks: give one entry per old rank, -1 = leaves",
                 mapping.new_rank_of.size(), before.num_ranks());
  }
  check_continuing_slots(before.layout(), after.layout(), mapping, problems);
  auto const old_rank_of = check_targets(mapping, after.num_ranks(), problems);
  for (std::size_t rank = 0; mapping.mode == ScaleMode::scale_down && rank < old_rank_of.size(); ++rank) {
    if (old_rank_of[rank] < 0) {
      problems.add(PlanRule::invalid_mapping,
                   "no old rank maps to new rank {}: in scale_down every new rank continues an old one", rank);
    }
  }
}

/// A placement of `layout` whose block to[b] is block b of `source`; to[b] = -1 drops it, the rest is empty.
ExpertPlacement move_blocks(ExpertPlacement const& source, SlotLayout const& layout, std::vector<RankId> const& to) {
  auto const slots = to_size(layout.num_slots());
  std::vector<ExpertId> moved(to_size(source.num_layers()) * slots, kNoExpert);
  for (int layer = 0; layer < source.num_layers(); ++layer) {
    for (RankId rank(0); rank.value() < source.num_ranks(); ++rank) {
      if (RankId const target = to[rank.index()]; target.valid()) {
        auto const rows = source.rank_slots(layer, rank);
        auto const first = to_size(layer) * slots + layout.first_slot(target).index();
        std::copy(rows.begin(), rows.end(), moved.begin() + static_cast<std::ptrdiff_t>(first));
      }
    }
  }
  return ExpertPlacement(source.num_layers(), source.num_experts(), layout, std::move(moved));
}

std::vector<RankId> invert(std::vector<RankId> const& new_rank_of, int num_new_ranks) {
  std::vector<RankId> old_rank_of(to_size(num_new_ranks), RankId(-1));
  for (std::size_t old_rank = 0; old_rank < new_rank_of.size(); ++old_rank) {
    if (new_rank_of[old_rank].valid()) {
      old_rank_of[new_rank_of[old_rank].index()] = RankId(static_cast<std::int32_t>(old_rank));
    }
  }
  return old_rank_of;
}

}  // namespace

std::string_view to_string(ScaleMode mode) noexcept {
  switch (mode) {
    case ScaleMode::none: return "none";
    case ScaleMode::scale_up: return "scale_up";
    case ScaleMode::scale_down: return "scale_down";
  }
  return "unknown";
}

std::vector<PlanViolation> rebalance::find_size_problems(ExpertPlacement const& before, ExpertPlacement const& after,
                                                         RankMapping const& mapping) {
  ProblemList problems;
  if (before.num_layers() != after.num_layers()) {
    problems.add(PlanRule::shape_mismatch, "before has {} layers and after {}", before.num_layers(),
                 after.num_layers());
  }
  if (before.num_experts() != after.num_experts()) {
    problems.add(PlanRule::shape_mismatch, "before has {} experts and after {}", before.num_experts(),
                 after.num_experts());
  }
  if (mapping.mode != ScaleMode::none) {
    check_scaling(before, after, mapping, problems);
    return problems.take();
  }
  if (!mapping.new_rank_of.empty()) {
    problems.add(
        PlanRule::invalid_mapping,
        "a rank mapping of {} entries without a direction: say scale_up or scale_down, its length does not tell",
        mapping.new_rank_of.size());
  }
  check_same_layout(before.layout(), after.layout(), problems);
  return problems.take();
}

ExpandedPlacements rebalance::expand(ExpertPlacement const& before, ExpertPlacement const& after,
                                     RankMapping const& mapping) {
  switch (mapping.mode) {
    case ScaleMode::scale_up: return {move_blocks(before, after.layout(), mapping.new_rank_of), after};
    case ScaleMode::scale_down:
      return {before, move_blocks(after, before.layout(), invert(mapping.new_rank_of, after.num_ranks()))};
    case ScaleMode::none: break;
  }
  return {before, after};
}

ExpandedPlacements expand_placements(ExpertPlacement const& before, ExpertPlacement const& after,
                                     RankMapping const& mapping) {
  auto const problems = find_size_problems(before, after, mapping);
  if (!problems.empty()) {
    bool const size = problems.front().rule == PlanRule::shape_mismatch;
    throw_error(size ? ErrorCode::shape_mismatch : ErrorCode::invalid_argument, problems.front().text);
  }
  return rebalance::expand(before, after, mapping);
}

ExpertPlacement rebalance::target_of(ExpertPlacement const& after, RankMapping const& mapping) {
  if (mapping.mode != ScaleMode::scale_down) {
    return after;
  }
  auto const& new_rank_of = mapping.new_rank_of;
  auto const staying = std::count_if(new_rank_of.begin(), new_rank_of.end(), [](RankId rank) { return rank.valid(); });
  ProblemList problems;
  if (new_rank_of.size() != to_size(after.num_ranks()) || staying < 1) {
    problems.add(PlanRule::invalid_mapping,
                 "a scale_down mapping of {} entries, {} of them staying, does not fit a group of {} ranks",
                 new_rank_of.size(), staying, after.num_ranks());
  } else {
    static_cast<void>(check_targets(mapping, static_cast<int>(staying), problems));
  }
  auto const found = problems.take();
  SWITCHYARD_REQUIRE(found.empty(), invalid_argument, "{}", found.front().text);
  std::vector<std::int32_t> slots(to_size(staying), 0);
  for (std::size_t old_rank = 0; old_rank < new_rank_of.size(); ++old_rank) {
    if (new_rank_of[old_rank].valid()) {
      slots[new_rank_of[old_rank].index()] = after.layout().slots_of(RankId(static_cast<std::int32_t>(old_rank)));
    }
  }
  return move_blocks(after, SlotLayout(std::move(slots)), new_rank_of);
}

ExpertPlacement start_placement(RebalancePlan const& plan) {
  auto const& new_rank_of = plan.mapping.new_rank_of;
  if (plan.mapping.mode != ScaleMode::scale_up) {
    return plan.before;
  }
  std::vector<std::int32_t> slots;
  for (RankId const rank : new_rank_of) {
    SWITCHYARD_REQUIRE(rank.value() >= -1 && rank.value() < plan.before.num_ranks(), invalid_argument,
                       "the rank mapping names new rank {} of {}", rank.value(), plan.before.num_ranks());
    slots.push_back(rank.valid() ? plan.before.layout().slots_of(rank) : 0);
  }
  return move_blocks(plan.before, SlotLayout(std::move(slots)), invert(new_rank_of, plan.before.num_ranks()));
}

ExpertPlacement target_placement(RebalancePlan const& plan) {
  return rebalance::target_of(plan.after, plan.mapping);
}

}  // namespace switchyard
