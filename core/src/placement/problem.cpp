// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/problem.hpp"

#include <algorithm>
#include <cmath>

#include "policy_request.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

void require_lists(PolicyRequest const& request, int num_layers) {
  SWITCHYARD_REQUIRE(
      !request.slot_layout || (request.slot_layout->num_ranks() == request.num_ranks &&
                               request.slot_layout->num_slots() == request.num_slots),
      invalid_argument, "the slot layout has {} ranks and {} slots, the request {} and {}: they must be equal",
      request.slot_layout->num_ranks(), request.slot_layout->num_slots(), request.num_ranks, request.num_slots);
  SWITCHYARD_REQUIRE(request.rank_speeds.empty() || request.rank_speeds.size() == to_size(request.num_ranks),
                     invalid_argument, "{} speeds for {} ranks: give one per rank, or none", request.rank_speeds.size(),
                     request.num_ranks);
  for (std::size_t rank = 0; rank < request.rank_speeds.size(); ++rank) {
    double const speed = request.rank_speeds[rank];
    SWITCHYARD_REQUIRE(std::isfinite(speed) && speed > 0, invalid_argument,
                       "speed {} of rank {}: speeds are positive; list a rank that serves nothing as dead", speed,
                       rank);
  }
  SWITCHYARD_REQUIRE(request.layer_slots.empty() || request.layer_slots.size() == to_size(num_layers), invalid_argument,
                     "{} slot budgets for {} layers: give one per layer, or none", request.layer_slots.size(),
                     num_layers);
}

void require_dead_ranks(PolicyRequest const& request) {
  for (std::size_t i = 0; i < request.dead_ranks.size(); ++i) {
    int const rank = request.dead_ranks[i].value();
    SWITCHYARD_REQUIRE(rank >= 0 && rank < request.num_ranks, invalid_argument, "dead rank {} is outside [0, {})", rank,
                       request.num_ranks);
    SWITCHYARD_REQUIRE(i == 0 || request.dead_ranks[i - 1].value() < rank, invalid_argument,
                       "dead rank {} follows {}: list dead ranks ascending and once", rank,
                       request.dead_ranks[i - 1].value());
  }
  SWITCHYARD_REQUIRE(request.dead_ranks.size() < to_size(request.num_ranks), invalid_argument,
                     "all {} ranks are dead: at least one must serve", request.num_ranks);
}

std::int64_t live_slots(PolicyRequest const& request) {
  SlotLayout const layout = slot_layout_of(request);
  std::int64_t slots = layout.num_slots();
  for (RankId const rank : request.dead_ranks) slots -= layout.slots_of(rank);
  return slots;
}

void require_room(PolicyRequest const& request, int num_experts) {
  std::int64_t const slots = live_slots(request);
  SWITCHYARD_REQUIRE(slots >= num_experts, invalid_argument,
                     "the {} live ranks have {} slots, which cannot hold {} experts: use more slots per rank",
                     to_size(request.num_ranks) - request.dead_ranks.size(), slots, num_experts);
  for (std::size_t layer = 0; layer < request.layer_slots.size(); ++layer) {
    int const budget = request.layer_slots[layer];
    SWITCHYARD_REQUIRE(budget >= num_experts && budget <= slots, invalid_argument,
                       "layer {} may fill {} slots: a budget is at least the {} experts and at most the {} live slots",
                       layer, budget, num_experts, slots);
  }
}

void require_objective(PlacementObjective const& objective) {
  for (double const part : {objective.base, objective.per_expert, objective.per_token}) {
    SWITCHYARD_REQUIRE(std::isfinite(part) && part >= 0, invalid_argument,
                       "objective {} + {} * experts + {} * tokens: the parts must be finite and not negative",
                       objective.base, objective.per_expert, objective.per_token);
  }
}

void require_limits(PolicyRequest const& request) {
  SWITCHYARD_REQUIRE(request.max_nodes_per_group >= 0 && request.max_nodes_per_expert >= 0, invalid_argument,
                     "at most {} nodes per group and {} per expert: limits must not be negative; 0 means none",
                     request.max_nodes_per_group, request.max_nodes_per_expert);
}

void require_current(PolicyRequest const& request, int num_layers, int num_experts) {
  if (request.current == nullptr) return;
  ExpertPlacement const& current = *request.current;
  SWITCHYARD_REQUIRE(current.num_layers() == num_layers && current.num_experts() == num_experts, shape_mismatch,
                     "the current placement has {} layers x {} experts, the load {} x {}: they must describe the same "
                     "model",
                     current.num_layers(), current.num_experts(), num_layers, num_experts);
}

}  // namespace

std::string_view to_string(ObjectiveKind kind) noexcept {
  switch (kind) {
    case ObjectiveKind::tokens: return "tokens";
    case ObjectiveKind::activated_experts: return "activated_experts";
    case ObjectiveKind::time: return "time";
  }
  return "unknown";
}

std::string_view to_string(LoadStatistic statistic) noexcept {
  switch (statistic) {
    case LoadStatistic::sum: return "sum";
    case LoadStatistic::mean: return "mean";
    case LoadStatistic::mean_deviations: return "mean_deviations";
    case LoadStatistic::percentile: return "percentile";
  }
  return "unknown";
}

std::string_view to_string(RequestPart part) noexcept {
  switch (part) {
    case RequestPart::slot_layout: return "slot_layout";
    case RequestPart::rank_speeds: return "rank_speeds";
    case RequestPart::dead_ranks: return "dead_ranks";
    case RequestPart::layer_slots: return "layer_slots";
    case RequestPart::max_nodes_per_group: return "max_nodes_per_group";
    case RequestPart::max_nodes_per_expert: return "max_nodes_per_expert";
    case RequestPart::current: return "current";
    case RequestPart::objective: return "objective";
    case RequestPart::window: return "window";
  }
  return "unknown";
}

RequestParts requested_parts(PolicyRequest const& request) {
  RequestParts parts;
  auto const& speeds = request.rank_speeds;
  bool const equal_speeds = std::all_of(speeds.begin(), speeds.end(), [&](double s) { return s == speeds.front(); });
  if (request.slot_layout && request.slot_layout->uniform_slots() < 0) parts.add(RequestPart::slot_layout);
  if (!equal_speeds) parts.add(RequestPart::rank_speeds);
  if (!request.dead_ranks.empty()) parts.add(RequestPart::dead_ranks);
  if (!request.layer_slots.empty()) parts.add(RequestPart::layer_slots);
  if (request.max_nodes_per_group > 0) parts.add(RequestPart::max_nodes_per_group);
  if (request.max_nodes_per_expert > 0) parts.add(RequestPart::max_nodes_per_expert);
  if (request.current != nullptr) parts.add(RequestPart::current);
  if (request.objective.kind != ObjectiveKind::tokens) parts.add(RequestPart::objective);
  if (request.window.statistic != LoadStatistic::sum) parts.add(RequestPart::window);
  return parts;
}

void validate(PolicyRequest const& request, int num_layers, int num_experts) {
  placement::require_basic_request(request, num_experts);
  require_lists(request, num_layers);
  require_dead_ranks(request);
  require_room(request, num_experts);
  require_limits(request);
  require_objective(request.objective);
  require_current(request, num_layers, num_experts);
}

SlotLayout slot_layout_of(PolicyRequest const& request) {
  return request.slot_layout ? *request.slot_layout : SlotLayout::balanced(request.num_ranks, request.num_slots);
}

std::vector<bool> live_ranks(PolicyRequest const& request) {
  std::vector<bool> live(to_size(request.num_ranks), true);
  for (RankId const rank : request.dead_ranks) live.at(rank.index()) = false;
  return live;
}

std::vector<double> speeds_of(PolicyRequest const& request) {
  return request.rank_speeds.empty() ? std::vector<double>(to_size(request.num_ranks), 1.0) : request.rank_speeds;
}

NodeId node_of(PolicyRequest const& request, RankId rank) {
  // Blocks of `small + 1` ranks first, then of `small`.
  int const small = request.num_ranks / request.num_nodes;
  int const in_large = request.num_ranks % request.num_nodes * (small + 1);
  bool const is_large = rank.value() < in_large;
  return NodeId(is_large ? rank.value() / (small + 1)
                         : request.num_ranks % request.num_nodes + (rank.value() - in_large) / small);
}

int slots_to_fill(PolicyRequest const& request, int layer) {
  return request.layer_slots.empty() ? static_cast<int>(live_slots(request)) : request.layer_slots.at(to_size(layer));
}

}  // namespace switchyard
