// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/alltoall_planner.hpp"

#include <algorithm>
#include <utility>

#include "chunk_order.hpp"
#include "planning.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/replica_routing.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

void require_config(AllToAllConfig const& config, RankId rank, ExpertPlacement const& placement) {
  auto const& grid = config.grid;
  SWITCHYARD_REQUIRE(grid.tp >= 1 && grid.ep >= 1 && std::int64_t{grid.tp} * grid.ep <= INT32_MAX, invalid_argument,
                     "dispatch grid of tp {} x ep {}: both must be at least 1", grid.tp, grid.ep);
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < grid.world(), invalid_argument,
                     "rank {} is outside the dispatch grid of tp {} x ep {}", rank.value(), grid.tp, grid.ep);
  SWITCHYARD_REQUIRE(placement.num_ranks() == grid.ep, shape_mismatch,
                     "the placement has {} ranks but the dispatch grid has ep {}: a placement's ranks are EP ranks",
                     placement.num_ranks(), grid.ep);
  SWITCHYARD_REQUIRE(config.restore == ChunkRestore::inverse || config.row_order == RowOrder::tp_major,
                     invalid_argument, "restoring chunks as {} does needs tp_major rows, not {}",
                     to_string(config.restore), to_string(config.row_order));
}

/// The slot of every kept choice, tokens ascending and slots k ascending: the order of RowGather::rows_of_token.
struct ChosenSlots {
  std::vector<std::int64_t> physical;  ///< physical slot
  std::vector<std::int64_t> k;
  std::vector<std::int64_t> row_begin;  ///< [tokens + 1]
};

ChosenSlots choose_slots(AllToAllConfig const& config, RankId rank, RoutingMap const& routing,
                         ExpertPlacement const& placement, int layer) {
  int const top_k = routing.form() == RoutingForm::topk ? routing.top_k() : routing.num_experts();
  ReplicaRouter router({config.replica_rule}, placement, layer, {rank, RankId{config.grid.ep_rank_of(rank)}, top_k});
  ChosenSlots chosen;
  chosen.row_begin.reserve(to_size(routing.num_tokens()) + 1);
  chosen.row_begin.push_back(0);
  if (routing.form() == RoutingForm::topk) {
    chosen.physical.reserve(to_size(routing.num_tokens() * routing.top_k()));
    chosen.k.reserve(chosen.physical.capacity());
  }
  std::vector<RoutingChoice> choices;
  for (std::int64_t token = 0; token < routing.num_tokens(); ++token) {
    routing.choices_of(TokenIndex{token}, choices);
    for (auto const& choice : choices) {
      chosen.physical.push_back(router.route(TokenIndex{token}, choice.slot, choice.expert).value());
      chosen.k.push_back(choice.slot);
    }
    chosen.row_begin.push_back(static_cast<std::int64_t>(chosen.physical.size()));
  }
  return chosen;
}

/// A stable counting sort of the choices by physical slot.
RowGather gather_by_slot(ChosenSlots chosen, std::span<std::int64_t const> rows_per_slot) {
  std::vector<std::int64_t> next(rows_per_slot.size(), 0);
  std::int64_t rows = 0;
  for (std::size_t slot = 0; slot < next.size(); ++slot) {
    next[slot] = rows;
    rows += rows_per_slot[slot];
  }
  RowGather gather;
  gather.token_of_row.resize(to_size(rows));
  gather.slot_of_row.resize(to_size(rows));
  gather.rows_of_token.resize(to_size(rows));
  gather.row_begin = std::move(chosen.row_begin);
  for (std::size_t token = 0; token + 1 < gather.row_begin.size(); ++token) {
    for (auto i = to_size(gather.row_begin[token]); i < to_size(gather.row_begin[token + 1]); ++i) {
      std::int64_t const row = next[to_size(chosen.physical[i])]++;
      gather.token_of_row[to_size(row)] = static_cast<std::int64_t>(token);
      gather.slot_of_row[to_size(row)] = chosen.k[i];
      gather.rows_of_token[i] = row;
    }
  }
  return gather;
}

void require_limit(RowAssignment const& assignment, CapacityLimit limit, std::span<ExpertId const> slots,
                   int num_experts) {
  std::vector<std::int64_t> rows(to_size(num_experts), 0);
  for (std::size_t slot = 0; slot < slots.size(); ++slot)
    if (slots[slot].valid()) rows[slots[slot].index()] += assignment.rows_per_slot[slot];
  for (std::size_t expert = 0; expert < rows.size(); ++expert) {
    bool const holds = limit.padded ? rows[expert] == limit.rows : rows[expert] <= limit.rows;
    SWITCHYARD_REQUIRE(holds, invalid_plan,
                       "rank {} has {} rows for expert {}, but its routing is said to be {} to {} rows: pass the "
                       "routing that apply_capacity() returned",
                       assignment.rank.value(), rows[expert], expert, limit.padded ? "padded" : "limited", limit.rows);
  }
}

RowExchange make_exchange(ExpertParallelGrid grid, RankId rank, GatheredCounts const& counts) {
  RowExchange exchange;
  exchange.send_rows.assign(to_size(grid.world()), 0);
  exchange.receive_rows.assign(to_size(grid.world()), 0);
  for (int ep = 0; ep < grid.ep; ++ep) {
    RankId const peer = grid.rank_of(ep, grid.tp_rank_of(rank));
    exchange.send_rows[peer.index()] = counts.rows_for(rank, ep);
    exchange.receive_rows[peer.index()] = counts.rows_for(peer, grid.ep_rank_of(rank));
  }
  return exchange;
}

GroupGather make_tp_gather(ExpertParallelGrid grid, RankId rank, GatheredCounts const& counts) {
  GroupGather gather;
  gather.receive_rows.assign(to_size(grid.world()), 0);
  int const my_ep = grid.ep_rank_of(rank);
  for (int tp = 0; tp < grid.tp; ++tp) {
    std::int64_t& rows = gather.receive_rows[grid.rank_of(my_ep, tp).index()];
    for (int ep = 0; ep < grid.ep; ++ep) rows = checked_add(rows, counts.rows_for(grid.rank_of(ep, tp), my_ep));
  }
  gather.own_rows = gather.receive_rows[rank.index()];
  return gather;
}

/// Rows by (source rank, local expert) and their sums; the sort is added when it is needed.
void add_arrivals(DispatchPlan& plan, int num_local, GatheredCounts const& counts) {
  auto const& grid = plan.setup.grid;
  ChunkSort sort;
  sort.sizes.resize(to_size(checked_mul(grid.world(), num_local)));
  plan.tokens_per_local_expert.assign(to_size(num_local), 0);
  for (int source = 0; source < grid.world(); ++source) {
    for (int local = 0; local < num_local; ++local) {
      std::int64_t const rows = counts.rows(RankId{source}, plan.first_slot + local);
      sort.sizes[to_size(chunk_index(grid, RankId{source}, local, num_local))] = rows;
      auto& tokens = plan.tokens_per_local_expert[to_size(local)];
      tokens = checked_add(tokens, rows);
    }
  }
  if (!needs_sort(grid, num_local, plan.setup.row_order)) return;
  sort.order = chunk_order(grid, num_local, plan.setup.row_order);
  plan.stages.emplace_back(std::move(sort));
}

}  // namespace

RowAssignment assign_rows(AllToAllConfig const& config, RankId rank, RoutingMap const& routing,
                          ExpertPlacement const& placement, int layer) {
  require_config(config, rank, placement);
  SWITCHYARD_REQUIRE(routing.num_experts() == placement.num_experts(), shape_mismatch,
                     "rank {} routes over {} experts but the placement holds {}", rank.value(), routing.num_experts(),
                     placement.num_experts());
  ChosenSlots chosen = choose_slots(config, rank, routing, placement, layer);
  RowAssignment assignment;
  assignment.rank = rank;
  assignment.slot_columns = routing.form() == RoutingForm::dense ? routing.num_experts() : routing.top_k();
  assignment.rows_per_slot.assign(to_size(placement.num_slots()), 0);
  for (std::int64_t const slot : chosen.physical) ++assignment.rows_per_slot[to_size(slot)];
  assignment.gather = gather_by_slot(std::move(chosen), assignment.rows_per_slot);
  return assignment;
}

DispatchPlan plan_alltoall(AllToAllConfig const& config, RowAssignment assignment, ExpertPlacement const& placement,
                           int layer, std::span<std::int64_t const> gathered_counts,
                           std::optional<CapacityLimit> limit) {
  require_config(config, assignment.rank, placement);
  GatheredCounts const counts(gathered_counts, config.grid.world(), placement);
  require_own_counts(assignment, counts);
  if (limit) require_limit(assignment, *limit, placement.layer(layer), placement.num_experts());

  RankId const my_experts{config.grid.ep_rank_of(assignment.rank)};
  DispatchPlan plan;
  plan.setup = make_setup(DispatchFamily::megatron_alltoall, config, placement, layer);
  plan.rank = assignment.rank;
  plan.first_slot = placement.layout().first_slot(my_experts).value();
  plan.num_tokens = static_cast<std::int64_t>(assignment.gather.row_begin.size()) - 1;
  plan.slot_columns = assignment.slot_columns;
  plan.capacity = limit;
  plan.rows_per_slot = std::move(assignment.rows_per_slot);
  plan.stages.emplace_back(std::move(assignment.gather));
  if (config.grid.ep > 1) plan.stages.emplace_back(make_exchange(config.grid, plan.rank, counts));
  if (config.grid.tp > 1) plan.stages.emplace_back(make_tp_gather(config.grid, plan.rank, counts));
  add_arrivals(plan, placement.layout().slots_of(my_experts), counts);
  return plan;
}

DispatchPlan plan_alltoall(Communicator& comm, AllToAllConfig const& config, RoutingMap const& routing,
                           ExpertPlacement const& placement, int layer, std::optional<CapacityLimit> limit) {
  require_world(comm, config.grid);
  RowAssignment assignment = assign_rows(config, comm.rank(), routing, placement, layer);
  CallOptions options;
  options.operation = "dispatch counts";
  options.configuration = make_setup(DispatchFamily::megatron_alltoall, config, placement, layer).fingerprint().value;
  auto const counts = all_gather_i64(comm, assignment.rows_per_slot, options);
  return plan_alltoall(config, std::move(assignment), placement, layer, counts, limit);
}

std::vector<DispatchPlan> plan_alltoall_group(AllToAllConfig const& config, std::span<RoutingMap const> routings,
                                              ExpertPlacement const& placement, int layer,
                                              std::span<CapacityLimit const> limits) {
  std::size_t const world = to_size(config.grid.world());
  require_group(config.grid, routings, limits);
  std::vector<RowAssignment> assignments;
  std::vector<std::int64_t> counts;
  for (std::size_t rank = 0; rank < world; ++rank) {
    assignments.push_back(
        assign_rows(config, RankId{static_cast<std::int32_t>(rank)}, routings[rank], placement, layer));
    auto const& rows = assignments.back().rows_per_slot;
    counts.insert(counts.end(), rows.begin(), rows.end());
  }
  std::vector<DispatchPlan> plans;
  for (std::size_t rank = 0; rank < world; ++rank) {
    auto const limit = limits.empty() ? std::optional<CapacityLimit>{} : limits[rank];
    plans.push_back(plan_alltoall(config, std::move(assignments[rank]), placement, layer, counts, limit));
  }
  return plans;
}

}  // namespace switchyard
