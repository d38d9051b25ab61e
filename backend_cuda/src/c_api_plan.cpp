// SPDX-License-Identifier: Apache-2.0
// The part of the C interface that needs no GPU: placements, plans and migrations.
#include "c_api_plan.hpp"

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "c_api_support.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::c_api {

ExpertParallelGrid grid_of(switchyard_plan_config const& config) {
  return {config.tp == 0 ? 1 : config.tp, config.ep};
}

RoutingMap routing_of(switchyard_routing const& routing) {
  SWITCHYARD_REQUIRE(routing.num_tokens >= 0 && routing.top_k >= 0, invalid_argument,
                     "the routing states {} tokens with {} choices", routing.num_tokens, routing.top_k);
  std::int64_t const choices = checked_mul(routing.num_tokens, routing.top_k);
  if (choices > 0) require_pointer(routing.ids, "routing.ids");
  if (choices > 0) require_pointer(routing.weights, "routing.weights");
  return RoutingMap::from_topk(routing.num_tokens, routing.num_experts, routing.top_k,
                               {routing.ids, routing.ids + choices}, {routing.weights, routing.weights + choices});
}

void refuse_family(std::int32_t family) {
  throw_error(ErrorCode::invalid_argument, fmt::format("family {} is none of switchyard_family", family));
}

namespace {

ExpertPlacement placement_of(switchyard_placement_config const& config) {
  SWITCHYARD_REQUIRE(config.num_ranks >= 1 && config.num_layers >= 0, invalid_argument,
                     "the placement states {} ranks and {} layers", config.num_ranks, config.num_layers);
  if (config.slots_per_rank == nullptr)
    return ExpertPlacement::contiguous(config.num_layers, config.num_experts, config.num_ranks);
  require_pointer(config.slot_to_expert, "config.slot_to_expert");
  SlotLayout layout({config.slots_per_rank, config.slots_per_rank + config.num_ranks});
  std::int64_t const slots = checked_mul(config.num_layers, layout.num_slots());
  std::vector<ExpertId> experts;
  for (std::int64_t i = 0; i < slots; ++i) experts.emplace_back(config.slot_to_expert[i]);
  ExpertPlacement placement(config.num_layers, config.num_experts, std::move(layout), std::move(experts));
  auto const violations = validate(placement);
  for (PlacementViolation const& violation : violations)
    SWITCHYARD_REQUIRE(violation.rule != PlacementRule::id_out_of_range, invalid_placement, "{}", violation.text);
  return placement;
}

std::vector<DispatchPlan> all_plans(switchyard_plan_config const& config, std::span<RoutingMap const> routings,
                                    ExpertPlacement const& placement) {
  auto const grid = grid_of(config);
  if (config.family == SWITCHYARD_ALLTOALL)
    return plan_alltoall_group({.grid = grid}, routings, placement, config.layer);
  if (config.family == SWITCHYARD_FLEX) return plan_flex_group({.grid = grid}, routings, placement, config.layer);
  if (config.family != SWITCHYARD_ALLGATHER) refuse_family(config.family);
  return plan_allgather_group({.grid = grid}, routings, placement, config.layer);
}

std::variant<RebalancePlan, RebalanceSchedule> migration_of(switchyard_migration_config const& config,
                                                            ExpertPlacement const& before,
                                                            ExpertPlacement const& after) {
  SWITCHYARD_REQUIRE(config.spare_rows >= 0, invalid_argument, "spare_rows is {}", config.spare_rows);
  if (config.scheduled == 0) return plan_rebalance(before, after);
  int const spare = config.spare_rows == 0 ? ScheduleLimits::kFullyBuffered : config.spare_rows;
  return plan_schedule(before, after, {}, {.spare_rows = spare});
}

void fill(RebalancePlan const& plan, switchyard_migration_info& info) {
  RebalanceTotals const sums = totals(plan);
  info.transfers = sums.network_copies;
  info.copies = sums.local_copies + sums.duplicates;
  info.fingerprint = plan.fingerprint().value;
}

void fill(RebalanceSchedule const& schedule, switchyard_migration_info& info) {
  ScheduleTotals const sums = totals(schedule);
  info.transfers = sums.network_transfers + sums.intra_transfers;
  info.copies = sums.copies;
  info.fingerprint = schedule.fingerprint().value;
}

}  // namespace
}  // namespace switchyard::c_api

namespace c_api = switchyard::c_api;

extern "C" {

switchyard_status switchyard_placement_create(switchyard_placement_config const* config, switchyard_placement** out) {
  return c_api::guarded([&] {
    c_api::require_pointer(out, "out");
    *out = new switchyard_placement{c_api::placement_of(c_api::sized(config, "config"))};
  });
}
void switchyard_placement_destroy(switchyard_placement* placement) {
  delete placement;
}

switchyard_status switchyard_plan_offline(switchyard_plan_config const* config, switchyard_placement const* placement,
                                          switchyard_routing const* routings, int32_t num_routings, int32_t rank,
                                          switchyard_plan** out) {
  return c_api::guarded([&] {
    c_api::require_pointer(out, "out");
    c_api::require_pointer(placement, "placement");
    c_api::require_pointer(routings, "routings");
    auto const known = c_api::sized(config, "config");
    SWITCHYARD_REQUIRE(rank >= 0 && rank < num_routings, invalid_argument, "rank {} is outside [0, {})", rank,
                       num_routings);
    std::vector<switchyard::RoutingMap> maps;
    for (int32_t i = 0; i < num_routings; ++i)
      maps.push_back(c_api::routing_of(c_api::sized(&routings[i], "routings")));
    auto plans = c_api::all_plans(known, maps, placement->value);
    *out = new switchyard_plan{std::move(plans[switchyard::to_size(rank)])};
  });
}
void switchyard_plan_destroy(switchyard_plan* plan) {
  delete plan;
}

switchyard_status switchyard_plan_get_info(switchyard_plan const* plan, switchyard_plan_info* info) {
  return c_api::guarded([&] {
    c_api::require_pointer(plan, "plan");
    static_cast<void>(c_api::sized(info, "info"));
    info->num_tokens = plan->value.num_tokens;
    info->slot_columns = plan->value.slot_columns;
    info->num_expert_rows = plan->value.num_expert_rows();
    info->num_local_experts = plan->value.num_local_experts();
    info->fingerprint = plan->value.fingerprint().value;
  });
}

switchyard_status switchyard_plan_rows_per_expert(switchyard_plan const* plan, int64_t* counts, int64_t num_counts) {
  return c_api::guarded([&] {
    c_api::require_pointer(plan, "plan");
    auto const& rows = plan->value.tokens_per_local_expert;
    SWITCHYARD_REQUIRE(std::cmp_equal(num_counts, rows.size()), shape_mismatch, "{} counts for {} local experts",
                       num_counts, rows.size());
    if (num_counts > 0) c_api::require_pointer(counts, "counts");
    std::copy(rows.begin(), rows.end(), counts);
  });
}

switchyard_status switchyard_migration_create(switchyard_migration_config const* config,
                                              switchyard_placement const* before, switchyard_placement const* after,
                                              switchyard_migration** out) {
  return c_api::guarded([&] {
    c_api::require_pointer(out, "out");
    c_api::require_pointer(before, "before");
    c_api::require_pointer(after, "after");
    *out = new switchyard_migration{c_api::migration_of(c_api::sized(config, "config"), before->value, after->value)};
  });
}

switchyard_status switchyard_migration_from_json(char const* text, size_t length, switchyard_migration** out) {
  return c_api::guarded([&] {
    c_api::require_pointer(out, "out");
    c_api::require_pointer(text, "text");
    auto value = switchyard::io::rebalance_from_json(std::string_view(text, length), "text");
    std::visit([](auto const& plan) { switchyard::require_valid(plan); }, value);
    *out = new switchyard_migration{std::move(value)};
  });
}
void switchyard_migration_destroy(switchyard_migration* migration) {
  delete migration;
}

switchyard_status switchyard_migration_get_info(switchyard_migration const* migration,
                                                switchyard_migration_info* info) {
  return c_api::guarded([&] {
    c_api::require_pointer(migration, "migration");
    static_cast<void>(c_api::sized(info, "info"));
    std::visit([&](auto const& plan) { c_api::fill(plan, *info); }, migration->value);
  });
}

}  // extern "C"
