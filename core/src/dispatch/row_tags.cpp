// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/row_tags.hpp"

#include <algorithm>

#include "chunk_order.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// Source ranks in the order in which their rows follow each other inside an expert.
std::vector<RankId> source_order(ExpertParallelGrid grid, RowOrder order) {
  std::vector<RankId> ranks;
  for (int rank = 0; rank < grid.world(); ++rank) ranks.emplace_back(rank);
  if (order == RowOrder::tp_major)
    std::sort(ranks.begin(), ranks.end(),
              [&](RankId a, RankId b) { return arrival_index(grid, a) < arrival_index(grid, b); });
  return ranks;
}

/// Whether a source's permutation fills the bins itself: forward_once, where no row travels.
bool bins_at_source(DispatchPlan const& plan) {
  return plan.setup.bins != ExpertBins::exact && plan.setup.grid.world() == 1;
}

/// A source's rows, one per (token, slot), by physical slot.
class SourceRows {
 public:
  explicit SourceRows(DispatchPlan const& plan) : tokens_(tokens_of(plan)) {
    first_.push_back(0);
    for (std::int64_t const rows : bins_at_source(plan) ? plan.tokens_per_local_expert : plan.rows_per_slot) {
      SWITCHYARD_REQUIRE(rows >= 0, shape_mismatch, "rank {} has {} rows for slot {}", plan.rank.value(), rows,
                         first_.size() - 1);
      first_.push_back(checked_add(first_.back(), rows));
    }
    SWITCHYARD_REQUIRE(to_size(first_.back()) == tokens_.size(), shape_mismatch,
                       "rank {} permutes {} rows but counts {} of them: validate() the plan first", plan.rank.value(),
                       tokens_.size(), first_.back());
  }

  /// The first `count` rows for `slot`.
  [[nodiscard]] std::span<std::int64_t const> tokens_for(int slot, std::int64_t count) const {
    return tokens_.subspan(to_size(first_[to_size(slot)]), to_size(count));
  }

 private:
  static std::span<std::int64_t const> tokens_of(DispatchPlan const& plan) {
    auto const& path = return_path(plan);
    auto const* gather = path.empty() ? nullptr : std::get_if<RowGather>(&path.front());
    SWITCHYARD_REQUIRE(gather != nullptr, shape_mismatch,
                       "the plan of rank {} has no rows of its tokens: validate() the plan first", plan.rank.value());
    return gather->token_of_row;
  }

  std::span<std::int64_t const> tokens_;
  std::vector<std::int64_t> first_;
};

void require_group(std::span<DispatchPlan const> plans, RankId rank) {
  SWITCHYARD_REQUIRE(!plans.empty() && to_size(plans.front().setup.grid.world()) == plans.size() && rank.value() >= 0 &&
                         rank.index() < plans.size(),
                     shape_mismatch, "{} plans are no group that holds rank {}", plans.size(), rank.value());
  for (auto const& plan : plans) {
    SWITCHYARD_REQUIRE(plan.rows_per_slot.size() == plans.front().rows_per_slot.size(), shape_mismatch,
                       "rank {} counts {} slots, rank {} {}", plan.rank.value(), plan.rows_per_slot.size(),
                       plans.front().rank.value(), plans.front().rows_per_slot.size());
    SWITCHYARD_REQUIRE(plan.first_slot >= 0 &&
                           to_size(plan.first_slot) + plan.tokens_per_local_expert.size() <= plan.rows_per_slot.size(),
                       shape_mismatch, "rank {} owns slots from {} on, {} of them, of {}", plan.rank.value(),
                       plan.first_slot, plan.tokens_per_local_expert.size(), plan.rows_per_slot.size());
  }
}

/// How many rows of every source, in row order, find a place in a bin of `places` rows.
std::vector<std::int64_t> places_taken(std::span<DispatchPlan const> plans, std::vector<RankId> const& order, int slot,
                                       std::int64_t places) {
  std::vector<std::int64_t> taken;
  for (RankId const source : order) {
    taken.push_back(std::clamp<std::int64_t>(places, 0, plans[source.index()].rows_per_slot[to_size(slot)]));
    places -= taken.back();
  }
  return taken;
}

}  // namespace

std::vector<std::int64_t> rows_in_bins(std::span<DispatchPlan const> plans, RankId source) {
  require_group(plans, source);
  std::vector<std::int64_t> kept = plans[source.index()].rows_per_slot;
  for (auto const& owner : plans) {
    auto const order = source_order(owner.setup.grid, owner.setup.row_order);
    auto const position = std::find(order.begin(), order.end(), source) - order.begin();
    for (int local = 0; local < owner.num_local_experts(); ++local) {
      int const slot = owner.first_slot + local;
      auto const taken = places_taken(plans, order, slot, owner.tokens_per_local_expert[to_size(local)]);
      kept[to_size(slot)] = taken[to_size(position)];
    }
  }
  return kept;
}

std::vector<RowTag> expected_row_tags(std::span<DispatchPlan const> plans, RankId rank) {
  require_group(plans, rank);
  std::vector<SourceRows> sources;
  for (auto const& plan : plans) sources.emplace_back(plan);
  auto const& plan = plans[rank.index()];
  auto const order = source_order(plan.setup.grid, plan.setup.row_order);
  std::vector<RowTag> tags;
  std::int64_t block_end = 0;
  for (int local = 0; local < plan.num_local_experts(); ++local) {
    std::int64_t const places = plan.tokens_per_local_expert[to_size(local)];
    auto const taken = places_taken(plans, order, plan.first_slot + local, places);
    for (std::size_t i = 0; i < order.size(); ++i)
      for (std::int64_t const token : sources[order[i].index()].tokens_for(plan.first_slot + local, taken[i]))
        tags.push_back({order[i], token});
    block_end = checked_add(block_end, places);
    tags.resize(to_size(block_end));
  }
  return tags;
}

}  // namespace switchyard
