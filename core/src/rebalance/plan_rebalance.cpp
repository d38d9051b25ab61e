// SPDX-License-Identifier: Apache-2.0
/// The planner: vLLM's transfer rules, one layer at a time.
#include <algorithm>
#include <iterator>

#include "holder_table.hpp"
#include "request_problems.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/rebalance/reachable_plan.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard {

namespace {

using rebalance::Holder;
using rebalance::HolderTable;

/// vLLM's assignment: equal shares of consecutive receivers, then the leftover receivers, which are the last ones, to
/// the first senders, one each.
std::size_t sender_of(std::size_t receiver, std::size_t num_senders, std::size_t num_receivers) {
  std::size_t const share = num_receivers / num_senders;
  return receiver < num_senders * share ? receiver / share : receiver - num_senders * share;
}

void add_network_copies(ExpertId expert, std::span<Holder const> senders, std::span<Holder const> holders_after,
                        LayerTransfers& out) {
  std::vector<Holder> receivers;
  std::set_difference(holders_after.begin(), holders_after.end(), senders.begin(), senders.end(),
                      std::back_inserter(receivers), [](Holder a, Holder b) { return a.rank < b.rank; });
  for (std::size_t i = 0; i < receivers.size(); ++i) {
    Holder const from = senders[sender_of(i, senders.size(), receivers.size())];
    Holder const to = receivers[i];
    out.ranks[from.rank.index()].sends.push_back({expert, from.row, to.rank});
    out.ranks[to.rank.index()].receives.push_back({expert, to.row, from.rank});
  }
}

/// The first row of a rank that holds an expert; emptied in O(1) for the next rank.
class FirstRow {
 public:
  explicit FirstRow(int num_experts) : entries_(to_size(num_experts)) {}

  void clear() { ++epoch_; }
  /// @return the row that was noted first for this expert: `row` itself when there was none.
  LocalExpertId note(ExpertId expert, LocalExpertId row) {
    if (!has(expert)) {
      entries_[expert.index()] = {epoch_, row};
    }
    return entries_[expert.index()].row;
  }
  [[nodiscard]] bool has(ExpertId expert) const { return entries_[expert.index()].epoch == epoch_; }
  [[nodiscard]] LocalExpertId at(ExpertId expert) const { return entries_[expert.index()].row; }

 private:
  struct Entry {
    int epoch = 0;
    LocalExpertId row{};
  };
  int epoch_ = 1;
  std::vector<Entry> entries_;
};

void add_copies_inside_rank(std::span<ExpertId const> before, std::span<ExpertId const> after, FirstRow& old_rows,
                            FirstRow& received_rows, RankTransfers& out) {
  old_rows.clear();
  received_rows.clear();
  LocalExpertId row(0);
  for (ExpertId const expert : before) {
    if (expert.valid()) {
      old_rows.note(expert, row);
    }
    ++row;
  }
  for (row = LocalExpertId(0); row.index() < after.size(); ++row) {
    ExpertId const expert = after[row.index()];
    if (!expert.valid() || expert == before[row.index()]) {
      continue;
    }
    if (old_rows.has(expert)) {
      out.local_copies.push_back({expert, old_rows.at(expert), row});
    } else if (auto const primary = received_rows.note(expert, row); primary != row) {
      out.duplicates.push_back({expert, primary, row});
    }
  }
}

LayerTransfers plan_layer(ExpandedPlacements const& placements, int layer) {
  auto const& [before, after] = placements;
  LayerTransfers out;
  out.ranks.resize(to_size(before.num_ranks()));
  HolderTable const holders_before(before, layer);
  HolderTable const holders_after(after, layer);
  for (ExpertId expert(0); expert.value() < before.num_experts(); ++expert) {
    add_network_copies(expert, holders_before.of(expert.index()), holders_after.of(expert.index()), out);
  }
  FirstRow old_rows(before.num_experts());
  FirstRow received_rows(before.num_experts());
  for (RankId rank(0); rank.value() < before.num_ranks(); ++rank) {
    add_copies_inside_rank(before.rank_slots(layer, rank), after.rank_slots(layer, rank), old_rows, received_rows,
                           out.ranks[rank.index()]);
  }
  return out;
}

RebalancePlan plan_expanded(ExpandedPlacements expanded, RankMapping const& mapping) {
  std::vector<LayerTransfers> layers;
  layers.reserve(to_size(expanded.before.num_layers()));
  for (int layer = 0; layer < expanded.before.num_layers(); ++layer) {
    layers.push_back(plan_layer(expanded, layer));
  }
  return RebalancePlan{std::move(expanded.before), std::move(expanded.after), mapping, std::move(layers)};
}

}  // namespace

RebalancePlan plan_rebalance(ExpertPlacement const& before, ExpertPlacement const& after, RankMapping const& mapping) {
  auto expanded = expand_placements(before, after, mapping);
  rebalance::require_good_ids(before, after);
  rebalance::require_sources(expanded);
  return plan_expanded(std::move(expanded), mapping);
}

ReachablePlan plan_reachable(ExpertPlacement const& before, ExpertPlacement const& after, RankMapping const& mapping,
                             std::vector<RankId> const& dead_ranks) {
  auto const expanded = expand_placements(before, after, mapping);
  auto move = keep_reachable(expanded.before, expanded.after, dead_ranks);
  std::vector<RankId> dead = dead_ranks;
  std::sort(dead.begin(), dead.end());
  dead.erase(std::unique(dead.begin(), dead.end()), dead.end());
  return {plan_expanded({std::move(move.before), std::move(move.after)}, mapping), std::move(dead),
          std::move(move.reloads)};
}

}  // namespace switchyard
