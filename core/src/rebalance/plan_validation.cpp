// SPDX-License-Identifier: Apache-2.0
/// The proofs of a rebalance plan: sizes and ids of its placements, its mapping, and a replay of every layer.
#include <algorithm>
#include <iterator>
#include <tuple>

#include "layer_replay.hpp"
#include "request_problems.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

constexpr std::size_t kViolationsInError = 3;

using Violations = std::vector<PlanViolation>;

rebalance::PlanFrame frame_of(RebalancePlan const& plan) {
  return {plan.before, plan.after, plan.mapping, plan.layers.size()};
}

/// In the expanded placement of a scaling plan, the ranks that the mapping leaves out must be empty.
void check_block_is_empty(ExpertPlacement const& placement, RankId rank, std::string_view role, Violations& out) {
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    for (ExpertId const expert : placement.rank_slots(layer, rank)) {
      if (expert != kNoExpert) {
        out.push_back({PlanRule::invalid_mapping, layer, rank,
                       fmt::format("layer {}, rank {}: the mapping says that the rank is not part of {}, but a slot of "
                                   "it holds expert {}",
                                   layer, rank.value(), role, expert.value())});
        return;
      }
    }
  }
}

Violations mapping_violation(std::string text) {
  return {{PlanRule::invalid_mapping, -1, RankId(-1), std::move(text)}};
}

/// @return for every rank that new_rank_of can name whether it does; empty after adding a violation.
std::vector<bool> find_named_ranks(RankMapping const& mapping, int limit, Violations& out) {
  std::vector<bool> named(to_size(limit), false);
  for (RankId const target : mapping.new_rank_of) {
    if (target.value() < -1 || target.value() >= limit || (target.valid() && named[target.index()])) {
      out = mapping_violation(
          fmt::format("the rank mapping names new rank {} twice or outside [-1, {})", target.value(), limit));
      return {};
    }
    if (target.valid()) {
      named[target.index()] = true;
    }
  }
  return named;
}

Violations find_scale_down_problems(rebalance::PlanFrame const& plan) {
  auto const& new_rank_of = plan.mapping.new_rank_of;
  if (new_rank_of.size() != to_size(plan.after.num_ranks())) {
    return mapping_violation(fmt::format("the rank mapping has {} entries for a group of {} ranks", new_rank_of.size(),
                                         plan.after.num_ranks()));
  }
  Violations out;
  auto const staying = std::count_if(new_rank_of.begin(), new_rank_of.end(), [](RankId r) { return r.valid(); });
  static_cast<void>(find_named_ranks(plan.mapping, static_cast<int>(staying), out));
  for (std::size_t rank = 0; rank < new_rank_of.size(); ++rank) {
    if (!new_rank_of[rank].valid()) {
      check_block_is_empty(plan.after, RankId(static_cast<std::int32_t>(rank)), "after", out);
    }
  }
  return out;
}

Violations find_scale_up_problems(rebalance::PlanFrame const& plan) {
  Violations out;
  auto const named = find_named_ranks(plan.mapping, plan.before.num_ranks(), out);
  for (std::size_t rank = 0; rank < named.size(); ++rank) {
    if (!named[rank]) {
      check_block_is_empty(plan.before, RankId(static_cast<std::int32_t>(rank)), "before", out);
    }
  }
  return out;
}

Violations find_mapping_problems(rebalance::PlanFrame const& plan) {
  switch (plan.mapping.mode) {
    case ScaleMode::scale_down: return find_scale_down_problems(plan);
    case ScaleMode::scale_up: return find_scale_up_problems(plan);
    case ScaleMode::none: break;
  }
  return plan.mapping.new_rank_of.empty() ? Violations{}
                                          : mapping_violation("the plan has a rank mapping but its mode is none");
}

void append(Violations& all, Violations more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

Violations check_layer(RebalancePlan const& plan, int layer) {
  auto const num_lists = plan.layers[to_size(layer)].ranks.size();
  if (num_lists != to_size(plan.before.num_ranks())) {
    return {{PlanRule::shape_mismatch, layer, RankId(-1),
             fmt::format("layer {} lists transfers of {} ranks but the placements have {}", layer, num_lists,
                         plan.before.num_ranks())}};
  }
  return rebalance::LayerReplay(plan, layer).violations();
}

}  // namespace

std::vector<PlanViolation> rebalance::find_frame_size_problems(PlanFrame const& frame) {
  auto problems = find_size_problems(frame.before, frame.after, RankMapping{});
  if (frame.num_layers != to_size(frame.before.num_layers())) {
    problems.push_back({PlanRule::shape_mismatch, -1, RankId(-1),
                        fmt::format("the plan lists transfers of {} layers but its placements have {}",
                                    frame.num_layers, frame.before.num_layers())});
  }
  return problems;
}

std::vector<PlanViolation> rebalance::find_frame_problems(PlanFrame const& frame) {
  Violations all = find_mapping_problems(frame);
  find_bad_ids(frame.before, "before", all);
  find_bad_ids(frame.after, "after", all);
  find_absent_experts(frame.after, frame.before, PlanRule::missing_source, all);
  return all;
}

std::vector<PlanViolation> validate(RebalancePlan const& plan, bool every_expert_must_stay) {
  Violations all = rebalance::find_frame_size_problems(frame_of(plan));
  if (!all.empty()) {
    return all;
  }
  append(all, rebalance::find_frame_problems(frame_of(plan)));
  if (every_expert_must_stay) {
    rebalance::find_absent_experts(plan.before, plan.after, PlanRule::lost_expert, all);
  }
  for (int layer = 0; layer < plan.before.num_layers(); ++layer) {
    append(all, check_layer(plan, layer));
  }
  std::stable_sort(all.begin(), all.end(), [](PlanViolation const& a, PlanViolation const& b) {
    return std::tie(a.layer, a.rank) < std::tie(b.layer, b.rank);
  });
  return all;
}

void rebalance::require_none(std::vector<PlanViolation> const& violations) {
  if (violations.empty()) {
    return;
  }
  std::string first;
  for (std::size_t i = 0; i < std::min(violations.size(), kViolationsInError); ++i) {
    first += fmt::format("{}{} ({})", i == 0 ? "" : "; ", violations[i].text, to_string(violations[i].rule));
  }
  throw_error(ErrorCode::invalid_plan,
              fmt::format("the plan breaks {} rules, so it must not be executed; first: {}", violations.size(), first));
}

void require_valid(RebalancePlan const& plan) {
  rebalance::require_none(validate(plan));
}

std::vector<SlotId> provenance(RebalancePlan const& plan, int layer) {
  SWITCHYARD_REQUIRE(layer >= 0 && layer < plan.before.num_layers(), invalid_argument,
                     "layer {} is outside [0, {}): the plan has no such layer", layer, plan.before.num_layers());
  auto problems = rebalance::find_frame_size_problems(frame_of(plan));
  if (problems.empty()) {
    problems = check_layer(plan, layer);
  }
  SWITCHYARD_REQUIRE(problems.empty(), invalid_plan, "layer {} cannot be replayed, {} rules are broken; first: {}",
                     layer, problems.size(), problems.front().text);
  return rebalance::LayerReplay(plan, layer).origins();
}

}  // namespace switchyard
