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

/// A source's rows, one per (token, slot), by physical slot.
class SourceRows {
 public:
  explicit SourceRows(DispatchPlan const& plan) : tokens_(tokens_of(plan)) {
    first_.push_back(0);
    for (std::int64_t const rows : plan.rows_per_slot) {
      SWITCHYARD_REQUIRE(rows >= 0, shape_mismatch, "rank {} has {} rows for slot {}", plan.rank.value(), rows,
                         first_.size() - 1);
      first_.push_back(checked_add(first_.back(), rows));
    }
    SWITCHYARD_REQUIRE(to_size(first_.back()) == tokens_.size(), shape_mismatch,
                       "rank {} permutes {} rows but counts {} of them: validate() the plan first", plan.rank.value(),
                       tokens_.size(), first_.back());
  }

  [[nodiscard]] std::span<std::int64_t const> tokens_for(int slot) const {
    auto const begin = first_[to_size(slot)];
    return tokens_.subspan(to_size(begin), to_size(first_[to_size(slot) + 1] - begin));
  }

 private:
  static std::span<std::int64_t const> tokens_of(DispatchPlan const& plan) {
    auto const& path = return_path(plan);
    auto const* gather = path.empty() ? nullptr : std::get_if<RowGather>(&path.front());
    SWITCHYARD_REQUIRE(gather != nullptr, shape_mismatch,
                       "the plan of rank {} has no rows of its tokens: validate() the plan first", plan.rank.value());
    SWITCHYARD_REQUIRE(plan.setup.bins == ExpertBins::exact && plan.setup.hidden_shards == 1, unsupported,
                       "row tags of {} bins and {} hidden shards: only exact bins without shards are covered",
                       to_string(plan.setup.bins), plan.setup.hidden_shards);
    return gather->token_of_row;
  }

  std::span<std::int64_t const> tokens_;
  std::vector<std::int64_t> first_;
};

}  // namespace

std::vector<RowTag> expected_row_tags(std::span<DispatchPlan const> plans, RankId rank) {
  SWITCHYARD_REQUIRE(
      !plans.empty() && to_size(plans.front().setup.grid.world()) == plans.size() && rank.index() < plans.size(),
      shape_mismatch, "{} plans are no group that holds rank {}", plans.size(), rank.value());
  std::vector<SourceRows> sources;
  for (auto const& plan : plans) {
    SWITCHYARD_REQUIRE(plan.rows_per_slot.size() == plans.front().rows_per_slot.size(), shape_mismatch,
                       "rank {} counts {} slots, rank {} {}", plan.rank.value(), plan.rows_per_slot.size(),
                       plans.front().rank.value(), plans.front().rows_per_slot.size());
    sources.emplace_back(plan);
  }
  auto const& plan = plans[rank.index()];
  SWITCHYARD_REQUIRE(plan.first_slot >= 0 &&
                         to_size(plan.first_slot) + plan.tokens_per_local_expert.size() <= plan.rows_per_slot.size(),
                     shape_mismatch, "rank {} owns slots from {} on, {} of them, of {}", rank.value(), plan.first_slot,
                     plan.tokens_per_local_expert.size(), plan.rows_per_slot.size());
  auto const order = source_order(plan.setup.grid, plan.setup.row_order);
  std::vector<RowTag> tags;
  for (int local = 0; local < plan.num_local_experts(); ++local)
    for (RankId const source : order)
      for (std::int64_t const token : sources[source.index()].tokens_for(plan.first_slot + local))
        tags.push_back({source, token});
  return tags;
}

}  // namespace switchyard
