// SPDX-License-Identifier: Apache-2.0
#include "request_problems.hpp"

#include <algorithm>
#include <iterator>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

std::vector<ExpertId> distinct_ids(std::span<ExpertId const> slots) {
  std::vector<ExpertId> ids(slots.begin(), slots.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  ids.erase(std::remove(ids.begin(), ids.end(), kNoExpert), ids.end());
  return ids;
}

std::string describe_absent(PlanRule rule, int layer, ExpertId expert) {
  if (rule == PlanRule::missing_source) {
    return fmt::format(
        "expert {} of layer {} is in after but no rank of the group holds it before: load it into a slot "
        "first or take it out of after",
        expert.value(), layer);
  }
  return fmt::format("expert {} of layer {} has no slot in after: its weights would be lost", expert.value(), layer);
}

std::string joined_texts(std::vector<PlanViolation> const& violations) {
  std::string text;
  for (auto const& violation : violations) {
    text += text.empty() ? "" : "; ";
    text += violation.text;
  }
  return text;
}

}  // namespace

void rebalance::find_bad_ids(ExpertPlacement const& placement, std::string_view role, std::vector<PlanViolation>& out) {
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    auto const slots = placement.layer(layer);
    for (std::int32_t slot = 0; slot < placement.num_slots(); ++slot) {
      auto const expert = slots[to_size(slot)].value();
      if (expert < -1 || expert >= placement.num_experts()) {
        RankId const rank = placement.layout().rank_of(SlotId(slot));
        out.push_back(
            {PlanRule::id_out_of_range, layer, rank,
             fmt::format("slot {} (rank {}) of layer {} holds expert {} in {}, outside [-1, {}) where -1 is an "
                         "empty slot",
                         slot, rank.value(), layer, expert, role, placement.num_experts())});
      }
    }
  }
}

void rebalance::find_absent_experts(ExpertPlacement const& wanted, ExpertPlacement const& present, PlanRule rule,
                                    std::vector<PlanViolation>& out) {
  for (int layer = 0; layer < wanted.num_layers(); ++layer) {
    auto const wanted_ids = distinct_ids(wanted.layer(layer));
    auto const present_ids = distinct_ids(present.layer(layer));
    std::vector<ExpertId> absent;
    std::set_difference(wanted_ids.begin(), wanted_ids.end(), present_ids.begin(), present_ids.end(),
                        std::back_inserter(absent));
    for (ExpertId const expert : absent) {
      out.push_back({rule, layer, RankId(-1), describe_absent(rule, layer, expert)});
    }
  }
}

void rebalance::require_good_ids(ExpertPlacement const& before, ExpertPlacement const& after) {
  std::vector<PlanViolation> problems;
  find_bad_ids(before, "before", problems);
  find_bad_ids(after, "after", problems);
  SWITCHYARD_REQUIRE(problems.empty(), invalid_placement, "{}", joined_texts(problems));
}

void rebalance::require_sources(ExpandedPlacements const& placements) {
  std::vector<PlanViolation> problems;
  find_absent_experts(placements.after, placements.before, PlanRule::missing_source, problems);
  SWITCHYARD_REQUIRE(problems.empty(), missing_source, "{}", joined_texts(problems));
}

std::vector<PlanViolation> check_request(ExpertPlacement const& before, ExpertPlacement const& after,
                                         RankMapping const& mapping) {
  auto problems = rebalance::find_size_problems(before, after, mapping);
  if (!problems.empty()) {
    return problems;
  }
  rebalance::find_bad_ids(before, "before", problems);
  rebalance::find_bad_ids(after, "after", problems);
  auto const expanded = rebalance::expand(before, after, mapping);
  rebalance::find_absent_experts(expanded.after, expanded.before, PlanRule::missing_source, problems);
  std::stable_sort(problems.begin(), problems.end(),
                   [](PlanViolation const& a, PlanViolation const& b) { return a.layer < b.layer; });
  return problems;
}

}  // namespace switchyard
