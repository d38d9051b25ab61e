// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/row_order.hpp"

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// First row of every (source, local expert) block in an order, [world * num_local] by source, then local expert.
std::vector<std::int64_t> block_starts(ExpertParallelGrid grid, std::span<std::int64_t const> arrivals,
                                       std::size_t num_local, RowOrder order) {
  std::vector<std::int64_t> starts(arrivals.size());
  std::int64_t next = 0;
  for (std::size_t local = 0; local < num_local; ++local) {
    for (int position = 0; position < grid.world(); ++position) {
      std::size_t const block = source_at(grid, order, position).index() * num_local + local;
      starts[block] = next;
      next = checked_add(next, arrivals[block]);
    }
  }
  return starts;
}

}  // namespace

std::vector<std::int64_t> arrivals_at(std::span<DispatchPlan const> plans, RankId rank) {
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.index() < plans.size(), shape_mismatch,
                     "a group of {} plans has no rank {}", plans.size(), rank.value());
  auto const& target = plans[rank.index()];
  std::vector<std::int64_t> arrivals;
  for (auto const& source : plans) {
    for (int local = 0; local < target.num_local_experts(); ++local) {
      auto const slot = to_size(target.first_slot + local);
      SWITCHYARD_REQUIRE(slot < source.rows_per_slot.size(), shape_mismatch,
                         "rank {} counts rows for {} slots, but rank {} owns slot {}: plans of one group are required",
                         source.rank.value(), source.rows_per_slot.size(), rank.value(), slot);
      arrivals.push_back(source.rows_per_slot[slot]);
    }
  }
  return arrivals;
}

std::vector<std::int64_t> row_order_map(ExpertParallelGrid grid, std::span<std::int64_t const> arrivals, RowOrder from,
                                        RowOrder to) {
  SWITCHYARD_REQUIRE(grid.tp >= 1 && grid.ep >= 1 && arrivals.size() % to_size(grid.world()) == 0, shape_mismatch,
                     "{} counts do not fit a dispatch grid of tp {} x ep {}", arrivals.size(), grid.tp, grid.ep);
  std::size_t const num_local = arrivals.size() / to_size(grid.world());
  auto const source = block_starts(grid, arrivals, num_local, from);
  std::vector<std::int64_t> map;
  for (std::size_t local = 0; local < num_local; ++local) {
    for (int position = 0; position < grid.world(); ++position) {
      std::size_t const block = source_at(grid, to, position).index() * num_local + local;
      for (std::int64_t row = 0; row < arrivals[block]; ++row) map.push_back(source[block] + row);
    }
  }
  return map;
}

}  // namespace switchyard
