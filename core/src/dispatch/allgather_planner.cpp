// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/allgather_planner.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "planning.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

void require_tables(AllGatherConfig const& config, RowAssignment const& assignment, std::span<SlotTable const> tables) {
  SWITCHYARD_REQUIRE(tables.size() == to_size(config.grid.world()), shape_mismatch,
                     "{} slot tables for a dispatch grid of tp {} x ep {}", tables.size(), config.grid.tp,
                     config.grid.ep);
  for (std::size_t rank = 0; rank < tables.size(); ++rank) {
    auto const& table = tables[rank];
    SWITCHYARD_REQUIRE(table.slot_columns == assignment.slot_columns, shape_mismatch,
                       "rank {} routes with {} slot columns, rank {} with {}: gathered weights need equal ones", rank,
                       table.slot_columns, assignment.rank.value(), assignment.slot_columns);
    auto const expected = checked_mul(table.num_tokens, table.slot_columns);
    SWITCHYARD_REQUIRE(table.slots.size() == to_size(expected), shape_mismatch,
                       "the slot table of rank {} holds {} numbers: {} tokens x {} columns need {}", rank,
                       table.slots.size(), table.num_tokens, table.slot_columns, expected);
  }
  SWITCHYARD_REQUIRE(tables[assignment.rank.index()] == slot_table(assignment), invalid_plan,
                     "the gathered slot table of rank {} is not that of its assignment: it belongs to another routing "
                     "or another order of ranks",
                     assignment.rank.value());
}

/// [world * num_slots] every rank's rows per slot.
std::vector<std::int64_t> count_rows(std::span<SlotTable const> tables, int num_slots) {
  std::vector<std::int64_t> counts;
  for (std::size_t rank = 0; rank < tables.size(); ++rank) {
    auto const& table = tables[rank];
    auto const named = count_choices(table.slots, num_slots);
    SWITCHYARD_REQUIRE(named.first_bad < 0, invalid_plan, "the slot table of rank {} sends token {} to slot {} of {}",
                       rank, named.first_bad / table.slot_columns, table.slots[to_size(named.first_bad)], num_slots);
    counts.insert(counts.end(), named.counts.begin(), named.counts.end());
  }
  return counts;
}

GroupGather gather_tokens(RankId rank, std::span<SlotTable const> tables) {
  GroupGather gather;
  gather.group = GatherGroup::world;
  for (auto const& table : tables) gather.receive_rows.push_back(table.num_tokens);
  gather.own_rows = gather.receive_rows[rank.index()];
  return gather;
}

/// The rows of this rank's experts out of all tokens.
RowGather local_rows(DispatchPlan const& plan, std::span<SlotTable const> tables) {
  std::size_t choices = 0;
  for (auto const& table : tables) choices += table.slots.size();
  std::vector<std::int32_t> local_experts(choices);
  std::vector<std::int64_t> tokens;
  auto const first = static_cast<std::uint32_t>(plan.first_slot);
  auto const num_local = static_cast<std::uint32_t>(plan.num_local_experts());
  auto next = local_experts.begin();
  for (auto const& table : tables) {
    tokens.push_back(table.num_tokens);
    next = std::transform(table.slots.begin(), table.slots.end(), next, [&](std::int32_t slot) {
      std::uint32_t const local =
          static_cast<std::uint32_t>(slot) - first;  // slots of others, and -1, are past the end
      return local < num_local ? static_cast<std::int32_t>(local) : -1;
    });
  }
  return expand_rows(
      {plan.setup.grid, plan.setup.row_order, plan.num_local_experts(), tokens, plan.slot_columns, local_experts});
}

/// The tables of all ranks; `own` is this rank's.
std::vector<SlotTable> gather_tables(Communicator& comm, SlotTable const& own, std::uint64_t configuration) {
  CallOptions options;
  options.operation = "dispatch slot table sizes";
  options.configuration = configuration;
  std::int64_t const shape[] = {own.num_tokens, own.slot_columns};
  auto const shapes = all_gather_i64(comm, shape, options);
  std::vector<SlotTable> tables;
  std::vector<std::int64_t> bytes;
  std::int64_t entries = 0;
  for (std::size_t rank = 0; rank < to_size(comm.size()); ++rank) {
    tables.push_back({shapes[2 * rank], shapes[2 * rank + 1], {}});
    std::int64_t const count = checked_mul(tables.back().num_tokens, tables.back().slot_columns);
    entries = checked_add(entries, count);
    bytes.push_back(checked_mul(count, sizeof(std::int32_t)));
  }
  std::vector<std::int32_t> all(to_size(entries));
  options.operation = "dispatch slot tables";
  comm.all_gather_v(std::as_bytes(std::span(own.slots)), std::as_writable_bytes(std::span(all)), bytes, options);
  auto next = all.begin();
  for (auto& table : tables) {
    auto const end = next + table.num_tokens * table.slot_columns;
    table.slots.assign(next, end);
    next = end;
  }
  return tables;
}

}  // namespace

AllToAllConfig return_config(AllGatherConfig const& config) {
  return {config.grid, config.row_order, ChunkRestore::inverse, config.replica_rule};
}

SlotTable slot_table(RowAssignment const& assignment) {
  auto const& gather = assignment.gather;
  SlotTable table;
  table.num_tokens = static_cast<std::int64_t>(gather.row_begin.size()) - 1;
  table.slot_columns = assignment.slot_columns;
  table.slots.assign(to_size(checked_mul(table.num_tokens, table.slot_columns)), -1);
  std::size_t row = 0;
  for (std::size_t slot = 0; slot < assignment.rows_per_slot.size(); ++slot) {
    for (std::size_t const end = row + to_size(assignment.rows_per_slot[slot]); row < end; ++row) {
      auto const entry = gather.token_of_row[row] * table.slot_columns + gather.slot_of_row[row];
      table.slots[to_size(entry)] = static_cast<std::int32_t>(slot);
    }
  }
  return table;
}

DispatchPlan plan_allgather(AllGatherConfig const& config, RowAssignment assignment, ExpertPlacement const& placement,
                            int layer, std::span<SlotTable const> tables, std::optional<CapacityLimit> limit) {
  require_tables(config, assignment, tables);
  auto const counts = count_rows(tables, placement.num_slots());
  DispatchPlan plan = plan_alltoall(return_config(config), std::move(assignment), placement, layer, counts, limit);
  plan.setup.family = DispatchFamily::megatron_allgather;
  plan.row_return = std::exchange(plan.stages, {});
  if (config.grid.world() > 1) plan.stages.emplace_back(gather_tokens(plan.rank, tables));
  plan.stages.emplace_back(local_rows(plan, tables));
  return plan;
}

DispatchPlan plan_allgather(Communicator& comm, AllGatherConfig const& config, RoutingMap const& routing,
                            ExpertPlacement const& placement, int layer, std::optional<CapacityLimit> limit) {
  require_world(comm, config.grid);
  RowAssignment assignment = assign_rows(return_config(config), comm.rank(), routing, placement, layer);
  auto const setup = make_setup(DispatchFamily::megatron_allgather, return_config(config), placement, layer);
  auto const tables = gather_tables(comm, slot_table(assignment), setup.fingerprint().value);
  return plan_allgather(config, std::move(assignment), placement, layer, tables, limit);
}

std::vector<DispatchPlan> plan_allgather_group(AllGatherConfig const& config, std::span<RoutingMap const> routings,
                                               ExpertPlacement const& placement, int layer,
                                               std::span<CapacityLimit const> limits) {
  std::size_t const world = to_size(config.grid.world());
  require_group(config.grid, routings, limits);
  std::vector<RowAssignment> assignments;
  std::vector<SlotTable> tables;
  for (std::size_t rank = 0; rank < world; ++rank) {
    RankId const id{static_cast<std::int32_t>(rank)};
    assignments.push_back(assign_rows(return_config(config), id, routings[rank], placement, layer));
    tables.push_back(slot_table(assignments.back()));
  }
  std::vector<DispatchPlan> plans;
  for (std::size_t rank = 0; rank < world; ++rank) {
    auto const limit = limits.empty() ? std::optional<CapacityLimit>{} : limits[rank];
    plans.push_back(plan_allgather(config, std::move(assignments[rank]), placement, layer, tables, limit));
  }
  return plans;
}

}  // namespace switchyard
