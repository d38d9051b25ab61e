// SPDX-License-Identifier: Apache-2.0
// Every policy keeps every part that it says it honours: random requests with the parts it names, checked by
// request_violations(); and that check itself, by hand and against placements with one slot altered.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/error_text.hpp"
#include "support/property.hpp"
#include "switchyard/placement/policy.hpp"

using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::LoadStatistic;
using switchyard::ObjectiveKind;
using switchyard::PlacementPolicy;
using switchyard::PolicyRequest;
using switchyard::RankId;
using switchyard::RequestPart;
using switchyard::SlotLayout;

namespace {

struct Instance {
  PolicyRequest request{};
  int layers = 1;
  int experts = 1;
};

/// Sizes that every policy accepts, at most 4 nodes of 3 ranks.
Instance random_sizes() {
  Instance instance;
  auto& request = instance.request;
  request.num_nodes = support::draw(1, 5);
  request.num_groups = request.num_nodes * support::draw(1, 3);
  request.num_ranks = request.num_nodes * support::draw(1, 4);
  instance.layers = support::draw(1, 4);
  instance.experts = request.num_groups * support::draw(1, 4);
  int const per_rank = (instance.experts + request.num_ranks - 1) / request.num_ranks;
  int const room = instance.experts - per_rank;
  request.num_slots = request.num_ranks * (per_rank + (room > 0 ? support::draw(0, std::min(room, 3) + 1) : 0));
  return instance;
}

bool coin() {
  return support::draw(0, 2) == 0;
}

/// One slot moves from one rank to another.
void make_uneven(PolicyRequest& request) {
  std::vector<std::int32_t> counts(static_cast<std::size_t>(request.num_ranks), request.num_slots / request.num_ranks);
  if (counts.size() < 2 || counts.front() < 2) return;
  --counts.front();
  ++counts.back();
  request.slot_layout = SlotLayout(counts);
}

/// A dead rank, if the others have room without standing on every rank twice.
void kill_a_rank(Instance& instance) {
  auto& request = instance.request;
  request.dead_ranks = {RankId(support::draw(0, request.num_ranks))};
  bool const has_room = request.num_ranks > 1 && slots_to_fill(request, 0) >= instance.experts;
  if (!has_room) request.dead_ranks.clear();
}

void set_budgets(Instance& instance) {
  auto& request = instance.request;
  int const most = slots_to_fill(request, 0);
  std::vector<std::int32_t> budgets;
  for (int layer = 0; layer < instance.layers; ++layer) budgets.push_back(support::draw(instance.experts, most + 1));
  request.layer_slots = budgets;
}

/// A placement in use that keeps the limits: a policy that starts from it need not repair it.
ExpertPlacement current_of(Instance const& instance) {
  auto const& request = instance.request;
  bool const is_limited = request.max_nodes_per_group > 0 || request.max_nodes_per_expert > 0;
  if (!is_limited) return ExpertPlacement::trivial(instance.layers, instance.experts, slot_layout_of(request));
  auto const count = static_cast<std::size_t>(instance.layers * instance.experts);
  ExpertLoad const ones(1, instance.layers, instance.experts, std::vector<double>(count, 1.0));
  PolicyRequest const sizes{request.num_ranks, request.num_slots, request.num_nodes, request.num_groups};
  return switchyard::make_policy("deepseek-hierarchical")->place(ones, sizes);
}

/// Asks for parts that the policy honours, each by a coin.
Instance random_request(PlacementPolicy const& policy) {
  Instance instance = random_sizes();
  auto& request = instance.request;
  auto const honoured = policy.honours(request);
  if (honoured.has(RequestPart::slot_layout) && coin()) make_uneven(request);
  if (honoured.has(RequestPart::dead_ranks) && coin()) kill_a_rank(instance);
  if (honoured.has(RequestPart::layer_slots) && coin()) set_budgets(instance);
  if (honoured.has(RequestPart::rank_speeds) && coin()) {
    for (int rank = 0; rank < request.num_ranks; ++rank) request.rank_speeds.push_back(support::draw(1, 4));
  }
  // Limits that leave room whatever else is asked for: groups and experts on one node only where all ranks are alike.
  bool const is_plain = !request.slot_layout && request.dead_ranks.empty() && request.layer_slots.empty();
  auto const now = policy.honours(request);
  if (now.has(RequestPart::max_nodes_per_group) && is_plain && coin()) request.max_nodes_per_group = 1;
  if (now.has(RequestPart::max_nodes_per_expert) && is_plain && coin()) request.max_nodes_per_expert = 1;
  if (now.has(RequestPart::window) && coin()) request.window = {LoadStatistic::mean_deviations, 1, 100};
  bool const needs_current = policy.name() == "swift" || policy.name() == "incremental";
  if (now.has(RequestPart::current) && (needs_current || coin())) {
    request.current = std::make_shared<ExpertPlacement const>(current_of(instance));
  }
  return instance;
}

ExpertLoad random_load(Instance const& instance) {
  int const steps = support::draw(1, 4);
  auto const count = static_cast<std::size_t>(steps * instance.layers * instance.experts);
  auto const values = support::draw_list(count, 0, 1000);
  return ExpertLoad(steps, instance.layers, instance.experts, {values.begin(), values.end()});
}

PolicyRequest four_ranks() {
  PolicyRequest request{4, 8, 2, 2};
  return request;
}

std::vector<RequestPart> broken(std::vector<int> const& ids, PolicyRequest const& request) {
  std::vector<ExpertId> slots;
  for (int const id : ids) slots.emplace_back(id);
  std::vector<RequestPart> parts;
  for (auto const& violation : request_violations(ExpertPlacement(1, 4, SlotLayout::uniform(4, 2), slots), request)) {
    parts.push_back(violation.part);
  }
  return parts;
}

}  // namespace

TEST_CASE("placements by hand: each part is missed once") {
  using Parts = std::vector<RequestPart>;
  auto request = four_ranks();
  // Groups 0 1 | 2 3, nodes of ranks 0 1 | 2 3.
  CHECK(broken({0, 1, 0, 1, 2, 3, 2, 3}, request).empty());
  request.max_nodes_per_group = 1;
  request.max_nodes_per_expert = 1;
  CHECK(broken({0, 1, 0, 1, 2, 3, 2, 3}, request).empty());
  CHECK(broken({0, 2, 0, 2, 1, 3, 1, 3}, request) ==
        Parts{RequestPart::max_nodes_per_group, RequestPart::max_nodes_per_group});
  CHECK(broken({0, 1, 0, 1, 2, 3, 2, 0}, request) ==
        Parts{RequestPart::max_nodes_per_group, RequestPart::max_nodes_per_expert});
  request = four_ranks();
  request.layer_slots = {7};
  CHECK(broken({0, 1, 0, 1, 2, 3, 2, 3}, request) == Parts{RequestPart::layer_slots});
  CHECK(broken({0, 1, 0, 1, 2, 3, 2, -1}, request).empty());
  request = four_ranks();
  request.dead_ranks = {RankId(1), RankId(3)};
  CHECK(broken({0, 1, -1, -1, 2, 3, -1, 3}, request) == Parts{RequestPart::dead_ranks});
  CHECK(broken({0, 1, -1, -1, 2, 3, -1, -1}, request).empty());
  request = four_ranks();
  request.slot_layout = SlotLayout({3, 2, 2, 1});
  CHECK(broken({0, 1, 0, 1, 2, 3, 2, 3}, request) == Parts{RequestPart::slot_layout});
  CHECK(support::contains(support::error_text(ErrorCode::invalid_placement,
                                              [] {
                                                return broken({9, 1, 0, 1, 2, 3, 2, 3}, four_ranks()).size();
                                              }),
                          "9"));
}

TEST_CASE("every policy keeps the parts it honours") {
  for (auto const& name : switchyard::policy_names()) {
    auto const policy = switchyard::make_policy(name);
    int planned = 0;
    CHECK(support::holds(name, 150, [&] {
      auto const instance = random_request(*policy);
      auto const load = random_load(instance);
      auto const placement = policy->place(load, instance.request);
      auto const& request = instance.request;
      RC_ASSERT(placement.num_layers() == instance.layers && placement.num_experts() == instance.experts);
      RC_ASSERT(validate(placement).empty());
      auto const violations = request_violations(placement, request);
      if (!violations.empty()) RC_FAIL(violations.front().text);
      RC_ASSERT(policy->place(load, request) == placement);
      ++planned;
    }));
    CHECK(planned == 150);
  }
}
