// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/megablocks_planner.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "planning.hpp"
#include "switchyard/dispatch/capacity_rule.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

using Counts = std::vector<std::int64_t>;

/// The rows of an expert's bin, rounded up to whole blocks.
std::int64_t whole_blocks(std::int64_t rows, std::int64_t block_rows) {
  return checked_mul(checked_add(rows, block_rows - 1) / block_rows, block_rows);
}

void require_config(MegaBlocksConfig const& config, ExpertPlacement const& placement) {
  SWITCHYARD_REQUIRE(placement.num_ranks() >= 1 && config.world >= 1 && config.world % placement.num_ranks() == 0,
                     invalid_argument,
                     "a world of {} ranks cannot hold {} expert blocks in equally many hidden shards each",
                     config.world, placement.num_ranks());
  SWITCHYARD_REQUIRE(config.bins != ExpertBins::blocks || config.block_rows >= 1, invalid_argument,
                     "expert blocks of {} rows: at least 1 is required", config.block_rows);
  SWITCHYARD_REQUIRE(config.top_k >= 0, invalid_argument, "top_k of {}", config.top_k);
}

int hidden_shards(MegaBlocksConfig const& config, ExpertPlacement const& placement) {
  return config.world / placement.num_ranks();
}

/// The same checks and rows as an AlltoAll's, whose grid only says how many ranks there are and who owns slots.
AllToAllConfig assignment_config(MegaBlocksConfig const& config, ExpertPlacement const& placement) {
  AllToAllConfig rows;
  rows.grid = {hidden_shards(config, placement), placement.num_ranks()};
  rows.row_order = RowOrder::rank_major;
  rows.replica_rule = config.replica_rule;
  return rows;
}

DispatchSetup megablocks_setup(MegaBlocksConfig const& config, ExpertPlacement const& placement, int layer) {
  AllToAllConfig layout;
  layout.grid = {1, config.world};
  layout.row_order = RowOrder::rank_major;
  DispatchSetup setup = make_setup(DispatchFamily::megablocks, layout, placement, layer);
  setup.hidden_shards = hidden_shards(config, placement);
  setup.bins = config.bins;
  setup.block_rows = config.bins == ExpertBins::blocks ? config.block_rows : 0;
  return setup;
}

/// Whether bins depend on a rank's own number of tokens. Hidden shards of one block must then hold equally many, or
/// they would drop different rows, whose partial results cannot be added.
bool needs_equal_tokens(MegaBlocksConfig const& config, ExpertPlacement const& placement) {
  return config.bins == ExpertBins::capacity && config.capacity_factor != 0 && hidden_shards(config, placement) > 1;
}

/// What ranks compare before they plan: the setup and how capacities come about.
/// @param num_tokens 0 where ranks may differ in it
std::uint64_t planning_digest(MegaBlocksConfig const& config, DispatchSetup const& setup, std::int64_t num_tokens) {
  std::int64_t factor_bits = 0;
  static_assert(sizeof factor_bits == sizeof config.capacity_factor);
  std::memcpy(&factor_bits, &config.capacity_factor, sizeof factor_bits);
  std::int64_t const rules[] = {static_cast<std::int64_t>(setup.fingerprint().value), factor_bits,
                                static_cast<std::int64_t>(config.zero_capacity), config.top_k, num_tokens};
  FingerprintBuilder builder;
  builder.add(1, rules);
  return builder.result().value;
}

/// Rows of every bin, when `arrived` rows want into it. Notes a capacity that depends on no count in the plan.
Counts bin_sizes(MegaBlocksConfig const& config, DispatchPlan& plan, Counts const& arrived) {
  Counts sizes = arrived;
  if (config.bins == ExpertBins::exact) return sizes;
  if (config.bins == ExpertBins::blocks) {
    for (std::int64_t& rows : sizes) rows = whole_blocks(rows, config.block_rows);
    return sizes;
  }
  int const top_k = config.top_k > 0 ? config.top_k : static_cast<int>(plan.slot_columns);
  auto const tokens = megablocks_capacity_tokens(config.world, plan.setup.hidden_shards, plan.num_tokens, top_k);
  std::int64_t capacity =
      megablocks_capacity(tokens, top_k, plan.setup.num_experts, config.world, config.capacity_factor);
  bool const counted = capacity == 0 && config.zero_capacity == ZeroCapacity::largest_count;
  if (counted && !arrived.empty()) capacity = *std::max_element(arrived.begin(), arrived.end());
  if (!counted) plan.capacity = CapacityLimit{capacity, false};
  sizes.assign(arrived.size(), capacity);
  static_cast<void>(checked_mul(capacity, static_cast<std::int64_t>(arrived.size())));
  return sizes;
}

/// Sorted rows into bins: row c of a bin is its expert's c-th row, or empty.
RowGather bin_rows(Counts const& arrived, Counts const& sizes) {
  RowGather bins;
  std::int64_t first = 0;
  for (std::size_t expert = 0; expert < arrived.size(); ++expert) {
    for (std::int64_t row = 0; row < sizes[expert]; ++row)
      bins.token_of_row.push_back(row < arrived[expert] ? first + row : -1);
    first += arrived[expert];
  }
  fill_row_lists(bins, first);
  return bins;
}

/// `rows` put into bins in one step; what no bin holds is not gathered at all.
RowGather binned(RowGather const& rows, RowGather const& bins) {
  RowGather result;
  for (std::int64_t const row : bins.token_of_row) {
    result.token_of_row.push_back(row < 0 ? -1 : rows.token_of_row[to_size(row)]);
    result.slot_of_row.push_back(row < 0 ? -1 : rows.slot_of_row[to_size(row)]);
  }
  auto const places = inverse_rows(bins);
  result.row_begin.push_back(0);
  for (std::size_t token = 0; token + 1 < rows.row_begin.size(); ++token) {
    for (auto i = rows.row_begin[token]; i < rows.row_begin[token + 1]; ++i) {
      std::int64_t const place = places[to_size(rows.rows_of_token[to_size(i)])];
      if (place >= 0) result.rows_of_token.push_back(place);
    }
    result.row_begin.push_back(static_cast<std::int64_t>(result.rows_of_token.size()));
  }
  return result;
}

/// The rows that came from every rank, by local expert: their labels are what the exchange brought, in order.
RowGather sort_rows(DispatchPlan const& plan, int num_local, GatheredCounts const& counts, Counts const& received) {
  std::vector<std::int32_t> labels;
  for (int source = 0; source < plan.setup.grid.world(); ++source)
    for (std::int32_t local = 0; local < num_local; ++local)
      labels.insert(labels.end(), to_size(counts.rows(RankId{source}, plan.first_slot + local)), local);
  RowGather sort = expand_rows({plan.setup.grid, plan.setup.row_order, num_local, received, 1, labels});
  sort.slot_of_row.clear();
  return sort;
}

RowExchange exchange_with_all(DispatchPlan const& plan, int owner, int blocks, GatheredCounts const& counts) {
  RowExchange exchange;
  for (int peer = 0; peer < plan.setup.grid.world(); ++peer) {
    exchange.send_rows.push_back(counts.rows_for(plan.rank, peer % blocks));
    exchange.receive_rows.push_back(counts.rows_for(RankId{peer}, owner));
  }
  return exchange;
}

/// Whether `sends` ends where plan_megablocks_sends() left it.
bool ends_with_sending(DispatchPlan const& sends, int world) {
  if (sends.stages.empty() || !sends.tokens_per_local_expert.empty()) return false;
  return world == 1 ? std::holds_alternative<RowGather>(sends.stages.back())
                    : std::holds_alternative<RowExchange>(sends.stages.back());
}

/// forward_once: one rank, bins filled straight from the tokens.
void bin_local_rows(MegaBlocksConfig const& config, DispatchPlan& plan) {
  Counts const& arrived = plan.rows_per_slot;
  plan.tokens_per_local_expert = bin_sizes(config, plan, arrived);
  if (config.bins == ExpertBins::exact) return;
  auto& gather = std::get<RowGather>(plan.stages.front());
  gather = binned(gather, bin_rows(arrived, plan.tokens_per_local_expert));
}

/// parallel_forward_once, after the exchange.
void sort_arrivals(MegaBlocksConfig const& config, DispatchPlan& plan, int num_local, GatheredCounts const& counts) {
  Counts arrived(to_size(num_local), 0);
  for (int local = 0; local < num_local; ++local)
    for (int source = 0; source < config.world; ++source)
      arrived[to_size(local)] =
          checked_add(arrived[to_size(local)], counts.rows(RankId{source}, plan.first_slot + local));
  plan.tokens_per_local_expert = bin_sizes(config, plan, arrived);
  Counts const received = std::get<RowExchange>(plan.stages.back()).receive_rows;
  if (num_local > 1) plan.stages.emplace_back(sort_rows(plan, num_local, counts, received));
  if (config.bins != ExpertBins::exact) plan.stages.emplace_back(bin_rows(arrived, plan.tokens_per_local_expert));
}

}  // namespace

std::int64_t megablocks_capacity_tokens(int world, int hidden_shards, std::int64_t num_tokens, int top_k) {
  if (world == 1) return num_tokens;
  return checked_mul(checked_mul(num_tokens, top_k), hidden_shards);
}

MegaBlocksGrid megablocks_grid(int world, int num_experts) {
  SWITCHYARD_REQUIRE(world >= 1 && num_experts >= 1, invalid_argument, "a world of {} ranks and {} experts", world,
                     num_experts);
  MegaBlocksGrid grid;
  grid.expert_blocks = std::min(world, num_experts);
  grid.hidden_shards = world / grid.expert_blocks;
  SWITCHYARD_REQUIRE(grid.expert_blocks * grid.hidden_shards == world && num_experts % grid.expert_blocks == 0,
                     invalid_argument,
                     "{} experts on {} ranks: MegaBlocks needs one number to divide the other; plan with a placement "
                     "of your own instead",
                     num_experts, world);
  return grid;
}

RowAssignment assign_megablocks_rows(MegaBlocksConfig const& config, RankId rank, RoutingMap const& routing,
                                     ExpertPlacement const& placement, int layer) {
  require_config(config, placement);
  return assign_rows(assignment_config(config, placement), rank, routing, placement, layer);
}

MegaBlocksIndices megablocks_indices(RowAssignment const& assignment) {
  MegaBlocksIndices result;
  auto const& gather = assignment.gather;
  result.tokens_per_expert = assignment.rows_per_slot;
  for (std::size_t expert = 0; expert < assignment.rows_per_slot.size(); ++expert) {
    result.bin_ids.insert(result.bin_ids.end(), to_size(assignment.rows_per_slot[expert]),
                          static_cast<std::int64_t>(expert));
    result.bins.push_back(static_cast<std::int64_t>(result.bin_ids.size()));
  }
  for (std::size_t row = 0; row < gather.token_of_row.size(); ++row)
    result.indices.push_back(gather.token_of_row[row] * assignment.slot_columns + gather.slot_of_row[row]);
  return result;
}

std::vector<std::int64_t> padded_bins(std::span<std::int64_t const> tokens_per_expert, std::int64_t block_rows) {
  SWITCHYARD_REQUIRE(block_rows >= 1, invalid_argument, "expert blocks of {} rows: at least 1 is required", block_rows);
  Counts bins;
  for (std::int64_t const rows : tokens_per_expert)
    bins.push_back(checked_add(bins.empty() ? 0 : bins.back(), whole_blocks(rows, block_rows)));
  return bins;
}

DispatchPlan plan_megablocks_sends(MegaBlocksConfig const& config, RowAssignment assignment,
                                   ExpertPlacement const& placement, int layer,
                                   std::span<std::int64_t const> gathered_counts) {
  require_config(config, placement);
  GatheredCounts const counts(gathered_counts, config.world, placement);
  require_own_counts(assignment, counts);
  int const blocks = placement.num_ranks();
  RankId const owner{assignment.rank.value() % blocks};
  DispatchPlan plan;
  plan.setup = megablocks_setup(config, placement, layer);
  plan.rank = assignment.rank;
  plan.first_slot = placement.layout().first_slot(owner).value();
  plan.num_tokens = input_rows(assignment.gather);
  plan.slot_columns = assignment.slot_columns;
  plan.rows_per_slot = std::move(assignment.rows_per_slot);
  auto const rows = static_cast<std::int64_t>(assignment.gather.token_of_row.size());
  plan.stages.emplace_back(std::move(assignment.gather));
  if (plan.setup.hidden_shards > 1) plan.stages.emplace_back(ShardRepeat{rows, plan.setup.hidden_shards});
  if (config.world > 1) plan.stages.emplace_back(exchange_with_all(plan, owner.value(), blocks, counts));
  return plan;
}

DispatchPlan complete_megablocks(MegaBlocksConfig const& config, DispatchPlan sends, ExpertPlacement const& placement,
                                 std::span<std::int64_t const> gathered_counts) {
  require_config(config, placement);
  GatheredCounts const counts(gathered_counts, config.world, placement);
  SWITCHYARD_REQUIRE(
      sends.setup == megablocks_setup(config, placement, sends.setup.layer) && ends_with_sending(sends, config.world),
      invalid_plan,
      "the sends of rank {} are of another configuration or placement, or are complete: pass what "
      "plan_megablocks_sends() gave",
      sends.rank.value());
  RankId const owner{sends.rank.value() % placement.num_ranks()};
  if (config.world == 1)
    bin_local_rows(config, sends);
  else
    sort_arrivals(config, sends, placement.layout().slots_of(owner), counts);
  return sends;
}

DispatchPlan plan_megablocks(MegaBlocksConfig const& config, RowAssignment assignment, ExpertPlacement const& placement,
                             int layer, std::span<std::int64_t const> gathered_counts) {
  auto sends = plan_megablocks_sends(config, std::move(assignment), placement, layer, gathered_counts);
  return complete_megablocks(config, std::move(sends), placement, gathered_counts);
}

DispatchPlan plan_megablocks(Communicator& comm, MegaBlocksConfig const& config, RoutingMap const& routing,
                             ExpertPlacement const& placement, int layer) {
  SWITCHYARD_REQUIRE(comm.size() == config.world, invalid_argument, "communicator of {} ranks for a world of {}",
                     comm.size(), config.world);
  RowAssignment assignment = assign_megablocks_rows(config, comm.rank(), routing, placement, layer);
  CallOptions options;
  options.operation = "dispatch counts";
  options.configuration = planning_digest(config, megablocks_setup(config, placement, layer),
                                          needs_equal_tokens(config, placement) ? routing.num_tokens() : 0);
  auto const counts = all_gather_i64(comm, assignment.rows_per_slot, options);
  return plan_megablocks(config, std::move(assignment), placement, layer, counts);
}

std::vector<DispatchPlan> plan_megablocks_group(MegaBlocksConfig const& config, std::span<RoutingMap const> routings,
                                                ExpertPlacement const& placement, int layer) {
  SWITCHYARD_REQUIRE(config.world >= 1 && routings.size() == to_size(config.world), shape_mismatch,
                     "a world of {} ranks needs as many routings, got {}", config.world, routings.size());
  for (std::size_t rank = 0; needs_equal_tokens(config, placement) && rank < routings.size(); ++rank)
    SWITCHYARD_REQUIRE(routings[rank].num_tokens() == routings.front().num_tokens(), desync,
                       "rank {} has {} tokens, rank 0 has {}: hidden shards with a capacity need equally many, because "
                       "a rank's capacity follows from its own tokens",
                       rank, routings[rank].num_tokens(), routings.front().num_tokens());
  std::vector<RowAssignment> assignments;
  Counts counts;
  for (std::size_t rank = 0; rank < routings.size(); ++rank) {
    RankId const id{static_cast<std::int32_t>(rank)};
    assignments.push_back(assign_megablocks_rows(config, id, routings[rank], placement, layer));
    auto const& rows = assignments.back().rows_per_slot;
    counts.insert(counts.end(), rows.begin(), rows.end());
  }
  std::vector<DispatchPlan> plans;
  for (auto& assignment : assignments)
    plans.push_back(plan_megablocks(config, std::move(assignment), placement, layer, counts));
  return plans;
}

}  // namespace switchyard
