// SPDX-License-Identifier: Apache-2.0
/// The planner: vLLM's transfer rules, one layer at a time.
#include <algorithm>
#include <iterator>

#include "request_problems.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard {

namespace {

/// A rank that has an expert, and the first of its rows that does.
struct Holder {
  RankId rank;
  LocalExpertId row;
};

/// The holders of every expert of one placement layer, ranks ascending, one entry per rank.
class HolderTable {
 public:
  HolderTable(ExpertPlacement const& placement, int layer) : offsets_(to_size(placement.num_experts()) + 1, 0) {
    for_each_holder(placement, layer, [&](ExpertId expert, Holder) { ++offsets_[expert.index() + 1]; });
    for (std::size_t expert = 1; expert < offsets_.size(); ++expert) {
      offsets_[expert] += offsets_[expert - 1];
    }
    holders_.resize(offsets_.back());
    std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
    for_each_holder(placement, layer,
                    [&](ExpertId expert, Holder holder) { holders_[next[expert.index()]++] = holder; });
  }

  [[nodiscard]] std::span<Holder const> of(std::size_t expert) const {
    return std::span(holders_).subspan(offsets_[expert], offsets_[expert + 1] - offsets_[expert]);
  }

 private:
  template <typename Visit>
  static void for_each_holder(ExpertPlacement const& placement, int layer, Visit const& visit) {
    std::vector<RankId> last_rank(to_size(placement.num_experts()), RankId(-1));
    for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
      LocalExpertId row(0);
      for (ExpertId const expert : placement.rank_slots(layer, rank)) {
        if (expert.valid() && last_rank[expert.index()] != rank) {
          last_rank[expert.index()] = rank;
          visit(expert, Holder{rank, row});
        }
        ++row;
      }
    }
  }

  std::vector<std::size_t> offsets_;
  std::vector<Holder> holders_{};
};

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

std::string joined_texts(std::vector<PlanViolation> const& violations) {
  std::string text;
  for (auto const& violation : violations) {
    text += text.empty() ? "" : "; ";
    text += violation.text;
  }
  return text;
}

void require_ids_and_sources(ExpertPlacement const& before, ExpertPlacement const& after,
                             ExpandedPlacements const& expanded) {
  std::vector<PlanViolation> problems;
  rebalance::find_bad_ids(before, "before", problems);
  rebalance::find_bad_ids(after, "after", problems);
  SWITCHYARD_REQUIRE(problems.empty(), invalid_placement, "{}", joined_texts(problems));
  rebalance::find_absent_experts(expanded.after, expanded.before, PlanRule::missing_source, problems);
  SWITCHYARD_REQUIRE(problems.empty(), missing_source, "{}", joined_texts(problems));
}

}  // namespace

RebalancePlan plan_rebalance(ExpertPlacement const& before, ExpertPlacement const& after, RankMapping const& mapping) {
  auto expanded = expand_placements(before, after, mapping);
  require_ids_and_sources(before, after, expanded);
  std::vector<LayerTransfers> layers;
  layers.reserve(to_size(expanded.before.num_layers()));
  for (int layer = 0; layer < expanded.before.num_layers(); ++layer) {
    layers.push_back(plan_layer(expanded, layer));
  }
  return RebalancePlan{std::move(expanded.before), std::move(expanded.after), mapping, std::move(layers)};
}

}  // namespace switchyard
