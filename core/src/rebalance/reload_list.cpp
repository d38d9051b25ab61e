// SPDX-License-Identifier: Apache-2.0
#include "switchyard/rebalance/reload_list.hpp"

#include <utility>

#include "request_problems.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

std::vector<bool> mark_dead(int num_ranks, std::vector<RankId> const& dead_ranks) {
  std::vector<bool> dead(to_size(num_ranks), false);
  for (RankId const rank : dead_ranks) {
    SWITCHYARD_REQUIRE(rank.valid() && rank.value() < num_ranks, invalid_argument,
                       "dead rank {} is outside the group's ranks [0, {}); count ranks in the group that moves",
                       rank.value(), num_ranks);
    dead[rank.index()] = true;
  }
  return dead;
}

/// The placement without what dead ranks hold.
std::vector<ExpertId> without_dead(ExpertPlacement const& placement, std::vector<bool> const& dead) {
  std::vector<ExpertId> slots;
  slots.reserve(placement.slot_to_expert().size());
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    for (RankId rank(0); rank.index() < dead.size(); ++rank) {
      for (ExpertId const expert : placement.rank_slots(layer, rank)) {
        slots.push_back(dead[rank.index()] ? kNoExpert : expert);
      }
    }
  }
  return slots;
}

/// Empties the slots of one layer whose expert nobody holds and lists them.
void take_reloads(ExpertPlacement const& before, int layer, std::span<ExpertId> after, std::vector<Reload>& out) {
  std::vector<bool> held(to_size(before.num_experts()), false);
  for (ExpertId const expert : before.layer(layer)) {
    if (expert.valid()) held[expert.index()] = true;
  }
  SlotLayout const& layout = before.layout();
  for (SlotId slot(0); slot.index() < after.size(); ++slot) {
    ExpertId& expert = after[slot.index()];
    if (!expert.valid() || held[expert.index()]) continue;
    out.push_back({layer, layout.rank_of(slot), layout.local_of(slot), expert});
    expert = kNoExpert;
  }
}

}  // namespace

ReachableMove keep_reachable(ExpertPlacement const& before, ExpertPlacement const& after,
                             std::vector<RankId> const& dead_ranks) {
  auto const problems = rebalance::find_size_problems(before, after, {});
  SWITCHYARD_REQUIRE(problems.empty(), shape_mismatch, "{}", problems.front().text);
  rebalance::require_good_ids(before, after);
  auto const dead = mark_dead(before.num_ranks(), dead_ranks);
  int const layers = before.num_layers();
  int const experts = before.num_experts();
  ExpertPlacement held(layers, experts, before.layout(), without_dead(before, dead));
  auto wanted = without_dead(after, dead);
  std::vector<Reload> reloads;
  auto const slots = to_size(before.num_slots());
  for (int layer = 0; layer < layers; ++layer) {
    take_reloads(held, layer, std::span(wanted).subspan(to_size(layer) * slots, slots), reloads);
  }
  return {std::move(held), ExpertPlacement(layers, experts, before.layout(), std::move(wanted)), std::move(reloads)};
}

}  // namespace switchyard
