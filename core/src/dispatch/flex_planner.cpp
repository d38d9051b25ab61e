// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/flex_planner.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "planning.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// The routing without choices of weight 0.
RoutingMap without_zero_weights(RoutingMap const& routing) {
  std::vector<float> weights(routing.weights().begin(), routing.weights().end());
  if (routing.form() == RoutingForm::dense) {
    std::vector<std::uint8_t> map(routing.map().begin(), routing.map().end());
    for (std::size_t i = 0; i < map.size(); ++i)
      if (weights[i] == 0.0F) map[i] = 0;
    return RoutingMap::from_dense(routing.num_tokens(), routing.num_experts(), std::move(map), std::move(weights));
  }
  std::vector<std::int32_t> ids(routing.ids().begin(), routing.ids().end());
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (weights[i] == 0.0F) ids[i] = -1;
  return RoutingMap::from_topk(routing.num_tokens(), routing.num_experts(), routing.top_k(), std::move(ids),
                               std::move(weights));
}

/// Who owns every slot of the placement: its EP rank and the number of its local expert.
struct SlotOwner {
  std::int32_t ep = 0;
  std::int32_t local = 0;
};

std::vector<SlotOwner> slot_owners(SlotLayout const& layout) {
  std::vector<SlotOwner> owners;
  for (std::int32_t ep = 0; ep < layout.num_ranks(); ++ep)
    for (std::int32_t local = 0; local < layout.slots_of(RankId{ep}); ++local) owners.push_back({ep, local});
  return owners;
}

/// The physical slot of every row of an assignment.
std::vector<std::int64_t> slot_of_rows(RowAssignment const& assignment) {
  std::vector<std::int64_t> slots;
  slots.reserve(assignment.gather.token_of_row.size());
  for (std::size_t slot = 0; slot < assignment.rows_per_slot.size(); ++slot)
    slots.insert(slots.end(), to_size(assignment.rows_per_slot[slot]), static_cast<std::int64_t>(slot));
  return slots;
}

/// One row per (EP rank, token) that meet: rows of an assignment are by slot, so by EP rank, but tokens repeat.
void add_unique_rows(FlexAssignment& flex, ExpertParallelGrid grid, SlotLayout const& layout) {
  auto const owners = slot_owners(layout);
  auto const slots = slot_of_rows(flex.rows);
  auto const& gather = flex.rows.gather;
  auto const num_tokens = to_size(input_rows(gather));
  auto const columns = flex.rows.slot_columns;
  std::size_t row = 0;
  for (std::int32_t ep = 0; ep < grid.ep; ++ep) {
    std::size_t end = row;
    std::vector<std::uint8_t> goes(num_tokens, 0);
    for (; end < slots.size() && owners[to_size(slots[end])].ep == ep; ++end)
      goes[to_size(gather.token_of_row[end])] = 1;
    std::vector<std::int64_t> tokens;
    std::vector<std::int64_t> index(num_tokens, -1);
    for (std::size_t token = 0; token < num_tokens; ++token) {
      if (goes[token] == 0) continue;
      index[token] = static_cast<std::int64_t>(tokens.size());
      tokens.push_back(static_cast<std::int64_t>(token));
    }
    std::vector<std::int32_t> ids(to_size(checked_mul(static_cast<std::int64_t>(tokens.size()), columns)), -1);
    for (; row < end; ++row) {
      auto const entry = index[to_size(gather.token_of_row[row])] * columns + gather.slot_of_row[row];
      ids[to_size(entry)] = owners[to_size(slots[row])].local;
    }
    for (int tp = 0; tp < grid.tp; ++tp) {
      flex.rows_per_rank.push_back(static_cast<std::int64_t>(tokens.size()));
      flex.unique.token_of_row.insert(flex.unique.token_of_row.end(), tokens.begin(), tokens.end());
      flex.ids.insert(flex.ids.end(), ids.begin(), ids.end());
    }
  }
  fill_row_lists(flex.unique, static_cast<std::int64_t>(num_tokens));
}

/// The announcements of all ranks, cut into their parts.
class Announcements {
 public:
  Announcements(std::span<std::int64_t const> numbers, int world, int num_slots)
      : numbers_(numbers), world_(world), num_slots_(num_slots) {
    auto const expected = checked_mul(world, stride());
    SWITCHYARD_REQUIRE(numbers.size() == to_size(expected), shape_mismatch,
                       "announcements hold {} numbers: {} ranks x (1 + {} slots + {} ranks) need {}", numbers.size(),
                       world, num_slots, world, expected);
  }
  [[nodiscard]] std::int64_t slot_columns(RankId rank) const { return part(rank)[0]; }
  [[nodiscard]] std::span<std::int64_t const> rows_per_slot(RankId rank) const {
    return part(rank).subspan(1, to_size(num_slots_));
  }
  [[nodiscard]] std::int64_t rows_to(RankId source, RankId target) const {
    return part(source)[1 + to_size(num_slots_) + target.index()];
  }
  /// [world * num_slots]
  [[nodiscard]] std::vector<std::int64_t> slot_counts() const {
    std::vector<std::int64_t> counts;
    for (int rank = 0; rank < world_; ++rank) {
      auto const rows = rows_per_slot(RankId{rank});
      counts.insert(counts.end(), rows.begin(), rows.end());
    }
    return counts;
  }
  [[nodiscard]] std::vector<std::int64_t> rows_received_by(RankId target) const {
    std::vector<std::int64_t> rows;
    for (int source = 0; source < world_; ++source) rows.push_back(rows_to(RankId{source}, target));
    return rows;
  }

 private:
  [[nodiscard]] std::int64_t stride() const { return std::int64_t{1} + num_slots_ + world_; }
  [[nodiscard]] std::span<std::int64_t const> part(RankId rank) const {
    return numbers_.subspan(rank.index() * to_size(stride()), to_size(stride()));
  }

  std::span<std::int64_t const> numbers_;
  int world_;
  int num_slots_;
};

/// What all ranks announce must be sane and, for this rank, its own.
void require_announcements(FlexAssignment const& assignment, Announcements const& all, int world) {
  RankId const rank = assignment.rows.rank;
  for (int other = 0; other < world; ++other) {
    SWITCHYARD_REQUIRE(all.slot_columns(RankId{other}) == assignment.rows.slot_columns, shape_mismatch,
                       "rank {} routes with {} slot columns, rank {} with {}: weights that travel need equal ones",
                       other, all.slot_columns(RankId{other}), rank.value(), assignment.rows.slot_columns);
    SWITCHYARD_REQUIRE(all.rows_to(RankId{other}, rank) >= 0, invalid_plan, "rank {} announces {} rows for rank {}",
                       other, all.rows_to(RankId{other}, rank), rank.value());
    std::int64_t const own = assignment.rows_per_rank[to_size(other)];
    SWITCHYARD_REQUIRE(all.rows_to(rank, RankId{other}) == own, invalid_plan,
                       "rank {} sends {} rows to rank {}, but its announcement says {}: it belongs to another routing "
                       "or another order of ranks",
                       rank.value(), own, other, all.rows_to(rank, RankId{other}));
  }
}

/// The ids of every source must name the rows that it announces for each local expert.
void require_ids(DispatchPlan const& plan, Announcements const& all, std::span<std::int64_t const> rows_of_source,
                 std::span<std::int32_t const> ids) {
  std::int64_t rows = 0;
  for (std::int64_t const count : rows_of_source) rows = checked_add(rows, count);
  SWITCHYARD_REQUIRE(ids.size() == to_size(checked_mul(rows, plan.slot_columns)), shape_mismatch,
                     "rank {} received {} expert ids: {} rows x {} columns need {}", plan.rank.value(), ids.size(),
                     rows, plan.slot_columns, rows * plan.slot_columns);
  std::size_t next = 0;
  for (std::size_t source = 0; source < rows_of_source.size(); ++source) {
    auto const sent = ids.subspan(next, to_size(rows_of_source[source] * plan.slot_columns));
    next += sent.size();
    auto const named = count_choices(sent, plan.num_local_experts());
    SWITCHYARD_REQUIRE(named.first_bad < 0, invalid_plan, "rank {} sends local expert {} to rank {}, which has {}",
                       source, sent[to_size(named.first_bad)], plan.rank.value(), plan.num_local_experts());
    RankId const rank{static_cast<std::int32_t>(source)};
    auto const announced = all.rows_per_slot(rank).subspan(to_size(plan.first_slot), named.counts.size());
    for (std::size_t local = 0; local < named.counts.size(); ++local)
      SWITCHYARD_REQUIRE(named.counts[local] == announced[local], invalid_plan,
                         "rank {} names local expert {} of rank {} {} times but announced {} rows for it", source,
                         local, plan.rank.value(), named.counts[local], announced[local]);
  }
}

/// Sends every rank its block of ids and returns the blocks that came, ranks ascending.
std::vector<std::int32_t> exchange_ids(Communicator& comm, FlexAssignment const& flex, Announcements const& all,
                                       CallOptions const& options) {
  std::int64_t const row_bytes = checked_mul(flex.rows.slot_columns, static_cast<std::int64_t>(sizeof(std::int32_t)));
  std::vector<std::int64_t> send;
  std::vector<std::int64_t> receive;
  std::int64_t entries = 0;
  for (int peer = 0; peer < comm.size(); ++peer) {
    std::int64_t const rows = all.rows_to(RankId{peer}, comm.rank());
    send.push_back(checked_mul(flex.rows_per_rank[to_size(peer)], row_bytes));
    receive.push_back(checked_mul(rows, row_bytes));
    entries = checked_add(entries, checked_mul(rows, flex.rows.slot_columns));
  }
  std::vector<std::int32_t> ids(to_size(entries));
  comm.all_to_all_v(std::as_bytes(std::span(flex.ids)), send, std::as_writable_bytes(std::span(ids)), receive, options);
  return ids;
}

}  // namespace

AllToAllConfig return_config(FlexConfig const& config) {
  return {config.grid, config.row_order, ChunkRestore::inverse, config.replica_rule};
}

FlexAssignment assign_flex_rows(FlexConfig const& config, RankId rank, RoutingMap const& routing,
                                ExpertPlacement const& placement, int layer) {
  FlexAssignment flex;
  bool const all = config.selection == FlexSelection::routing_map;
  flex.rows = assign_rows(return_config(config), rank, all ? routing : without_zero_weights(routing), placement, layer);
  add_unique_rows(flex, config.grid, placement.layout());
  return flex;
}

std::vector<std::int64_t> flex_announcement(FlexAssignment const& assignment) {
  std::vector<std::int64_t> numbers{assignment.rows.slot_columns};
  numbers.insert(numbers.end(), assignment.rows.rows_per_slot.begin(), assignment.rows.rows_per_slot.end());
  numbers.insert(numbers.end(), assignment.rows_per_rank.begin(), assignment.rows_per_rank.end());
  return numbers;
}

DispatchPlan plan_flex(FlexConfig const& config, FlexAssignment assignment, ExpertPlacement const& placement, int layer,
                       std::span<std::int64_t const> announcements, std::span<std::int32_t const> received_ids,
                       std::optional<CapacityLimit> limit) {
  int const world = config.grid.world();
  Announcements const all(announcements, world, placement.num_slots());
  require_announcements(assignment, all, world);
  DispatchPlan plan =
      plan_alltoall(return_config(config), std::move(assignment.rows), placement, layer, all.slot_counts(), limit);
  auto rows_of_source = all.rows_received_by(plan.rank);
  require_ids(plan, all, rows_of_source, received_ids);
  plan.setup.family = DispatchFamily::megatron_flex;
  plan.row_return = std::exchange(plan.stages, {});
  plan.stages.emplace_back(std::move(assignment.unique));
  auto expansion = expand_rows(
      {config.grid, config.row_order, plan.num_local_experts(), rows_of_source, plan.slot_columns, received_ids});
  if (world > 1) plan.stages.emplace_back(RowExchange{std::move(assignment.rows_per_rank), std::move(rows_of_source)});
  plan.stages.emplace_back(std::move(expansion));
  return plan;
}

DispatchPlan plan_flex(Communicator& comm, FlexConfig const& config, RoutingMap const& routing,
                       ExpertPlacement const& placement, int layer, std::optional<CapacityLimit> limit) {
  require_world(comm, config.grid);
  FlexAssignment assignment = assign_flex_rows(config, comm.rank(), routing, placement, layer);
  CallOptions options;
  options.configuration =
      make_setup(DispatchFamily::megatron_flex, return_config(config), placement, layer).fingerprint().value;
  options.operation = "dispatch announcements";
  auto const announcements = all_gather_i64(comm, flex_announcement(assignment), options);
  Announcements const all(announcements, comm.size(), placement.num_slots());
  require_announcements(assignment, all, comm.size());
  options.operation = "dispatch expert ids";
  auto const ids = exchange_ids(comm, assignment, all, options);
  return plan_flex(config, std::move(assignment), placement, layer, announcements, ids, limit);
}

std::vector<DispatchPlan> plan_flex_group(FlexConfig const& config, std::span<RoutingMap const> routings,
                                          ExpertPlacement const& placement, int layer,
                                          std::span<CapacityLimit const> limits) {
  std::size_t const world = to_size(config.grid.world());
  require_group(config.grid, routings, limits);
  std::vector<FlexAssignment> assignments;
  std::vector<std::int64_t> announcements;
  std::vector<std::vector<std::int32_t>> ids(world);
  for (std::size_t rank = 0; rank < world; ++rank) {
    RankId const id{static_cast<std::int32_t>(rank)};
    auto const& flex = assignments.emplace_back(assign_flex_rows(config, id, routings[rank], placement, layer));
    auto const numbers = flex_announcement(flex);
    announcements.insert(announcements.end(), numbers.begin(), numbers.end());
    auto next = flex.ids.begin();
    for (std::size_t target = 0; target < world; ++target) {
      auto const end = next + flex.rows_per_rank[target] * flex.rows.slot_columns;
      ids[target].insert(ids[target].end(), next, end);
      next = end;
    }
  }
  std::vector<DispatchPlan> plans;
  for (std::size_t rank = 0; rank < world; ++rank) {
    auto const limit = limits.empty() ? std::optional<CapacityLimit>{} : limits[rank];
    plans.push_back(plan_flex(config, std::move(assignments[rank]), placement, layer, announcements, ids[rank], limit));
  }
  return plans;
}

}  // namespace switchyard
