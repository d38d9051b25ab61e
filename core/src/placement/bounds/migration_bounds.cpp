// SPDX-License-Identifier: Apache-2.0
/// migration_bounds and relabel_ranks: what a move costs at least, and the renaming of ranks that reaches it.
#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "assignment.hpp"
#include "keep_slots.hpp"
#include "layer_view.hpp"
#include "max_flow.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/types/topology.hpp"

namespace switchyard {

namespace {

using Holders = std::vector<std::vector<std::size_t>>;  // [experts] ascending ranks

/// How many experts a rank would find at home under another rank's name; most pairs share none and are not stored.
class Overlaps {
 public:
  Overlaps(Holders const& before, Holders const& after, std::size_t num_ranks)
      : shared_(num_ranks), wanted_(num_ranks, 0) {
    for (std::size_t expert = 0; expert < after.size(); ++expert) {
      for (std::size_t const target : after[expert]) {
        ++wanted_[target];
        for (std::size_t const now : before[expert]) {
          ++shared_[target][now];
        }
      }
    }
  }
  [[nodiscard]] std::map<std::size_t, std::int32_t> const& shared(std::size_t target) const { return shared_[target]; }
  [[nodiscard]] std::int32_t fetches(std::size_t target, std::size_t now) const {
    auto const found = shared_[target].find(now);
    return wanted_[target] - (found == shared_[target].end() ? 0 : found->second);
  }

 private:
  std::vector<std::map<std::size_t, std::int32_t>> shared_;  // [rank of the target] rank of now -> experts
  std::vector<std::int32_t> wanted_;
};

/// Ranks that may take each other's target contents: serving, same node, as many slots, equally fast.
std::vector<std::vector<std::size_t>> interchangeable(SlotLayout const& layout, std::span<double const> speeds,
                                                      int num_nodes) {
  Topology const topology(layout.num_ranks(), num_nodes);
  std::map<std::tuple<int, int, double>, std::vector<std::size_t>> classes;
  for (RankId rank(0); rank.value() < layout.num_ranks(); ++rank) {
    if (speeds[rank.index()] > 0) {
      classes[{topology.node_of(rank).value(), layout.slots_of(rank), speeds[rank.index()]}].push_back(rank.index());
    }
  }
  std::vector<std::vector<std::size_t>> lists;
  for (auto& [key, ranks] : classes) {
    lists.push_back(std::move(ranks));
  }
  return lists;
}

/// The overlaps inside one class, by position in it.
placement::PairWeights weights_of(Overlaps const& overlaps, std::vector<std::size_t> const& ranks) {
  placement::PairWeights weights{ranks.size(), {}};
  for (std::size_t const target : ranks) {
    auto& row = weights.rows.emplace_back();
    for (auto const& [now, experts] : overlaps.shared(target)) {
      auto const at = std::lower_bound(ranks.begin(), ranks.end(), now);
      if (at != ranks.end() && *at == now) {
        row.push_back({static_cast<std::size_t>(at - ranks.begin()), experts});
      }
    }
  }
  return weights;
}

/// Rows without a column get the ones nobody wants, ascending.
void fill_up(std::vector<std::size_t>& column_of) {
  std::vector<bool> is_taken(column_of.size(), false);
  for (std::size_t const column : column_of) {
    if (column != placement::kUnmatched) {
      is_taken[column] = true;
    }
  }
  std::size_t next = 0;
  for (std::size_t& column : column_of) {
    if (column == placement::kUnmatched) {
      while (is_taken[next]) {
        ++next;
      }
      column = next++;
    }
  }
}

/// @return for every rank of the target the rank that should hold its contents. [ranks]
std::vector<std::size_t> cheapest_renaming(Overlaps const& overlaps,
                                           std::vector<std::vector<std::size_t>> const& classes,
                                           std::size_t num_ranks) {
  std::vector<std::size_t> new_name(num_ranks);
  std::iota(new_name.begin(), new_name.end(), std::size_t{0});
  for (auto const& ranks : classes) {
    auto columns = placement::heaviest_matching(weights_of(overlaps, ranks));
    fill_up(columns);
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      new_name[ranks[i]] = ranks[columns[i]];
    }
  }
  return new_name;
}

/// The smallest d such that senders can be chosen with at most d sends each: demands spread over holders. A flow of
/// integer capacities exists for d exactly when a fractional one does, so d is the optimum rounded up; a binary search
/// over flows finds it.
std::int64_t min_max_sends(Holders const& before, std::vector<std::int64_t> const& demand, std::size_t num_ranks) {
  placement::MaxFlow flow(2 + demand.size() + num_ranks);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    flow.add_edge(2 + demand.size() + rank, 1, 0);
  }
  std::int64_t wanted = 0;
  for (std::size_t expert = 0; expert < demand.size(); ++expert) {
    if (before[expert].empty() || demand[expert] == 0) {
      continue;
    }
    wanted += demand[expert];
    flow.add_edge(0, 2 + expert, demand[expert]);
    for (std::size_t const rank : before[expert]) {
      flow.add_edge(2 + expert, 2 + demand.size() + rank, demand[expert]);
    }
  }
  std::int64_t low = 0;
  std::int64_t high = wanted;
  while (low < high) {
    std::int64_t const middle = low + (high - low) / 2;
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      flow.set_capacity(rank, middle);
    }
    bool const enough = flow.run(0, 1) == wanted;
    (enough ? high : low) = enough ? middle : middle + 1;
  }
  return low;
}

/// Copies every expert that gains ranks has to be sent to, and the tallies that need no choice.
std::vector<std::int64_t> count_fetches(Holders const& before, Holders const& after, std::size_t num_ranks,
                                        MigrationBounds& bounds) {
  std::vector<std::int64_t> demand(after.size(), 0);
  std::vector<std::int64_t> receives(num_ranks, 0);
  for (std::size_t expert = 0; expert < after.size(); ++expert) {
    for (std::size_t const rank : after[expert]) {
      if (!std::binary_search(before[expert].begin(), before[expert].end(), rank)) {
        ++demand[expert];
        ++receives[rank];
      }
    }
    bounds.fetches += demand[expert];
    bounds.replica_floor += std::max<std::int64_t>(0, std::ssize(after[expert]) - std::ssize(before[expert]));
  }
  bounds.max_receives = receives.empty() ? 0 : *std::max_element(receives.begin(), receives.end());
  return demand;
}

}  // namespace

MigrationBounds migration_bounds(ExpertPlacement const& before, ExpertPlacement const& after, int layer,
                                 std::span<double const> speeds) {
  placement::require_same_model(before, after);
  auto const checked = placement::checked_speeds(speeds, before.num_ranks());
  auto const num_ranks = to_size(before.num_ranks());
  Holders const held = placement::holders(before, layer, checked);
  Holders const wanted = placement::holders(after, layer, checked);
  MigrationBounds bounds;
  auto const demand = count_fetches(held, wanted, num_ranks, bounds);
  bounds.min_max_sends = min_max_sends(held, demand, num_ranks);
  bounds.rounds = std::max(bounds.max_receives, bounds.min_max_sends);
  Overlaps const overlaps(held, wanted, num_ranks);
  auto const new_name = cheapest_renaming(overlaps, interchangeable(after.layout(), checked, 1), num_ranks);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    bounds.fewest_fetches += checked[rank] > 0 ? overlaps.fetches(rank, new_name[rank]) : 0;
  }
  return bounds;
}

ExpertPlacement relabel_ranks(ExpertPlacement const& current, ExpertPlacement const& target,
                              std::span<double const> speeds, int num_nodes) {
  placement::require_same_model(current, target);
  auto const checked = placement::checked_speeds(speeds, current.num_ranks());
  auto const num_ranks = to_size(current.num_ranks());
  SlotLayout const& layout = target.layout();
  auto const classes = interchangeable(layout, checked, num_nodes);
  std::vector<ExpertId> slots(target.slot_to_expert().begin(), target.slot_to_expert().end());
  for (int layer = 0; layer < target.num_layers(); ++layer) {
    Overlaps const overlaps(placement::holders(current, layer, checked), placement::holders(target, layer, checked),
                            num_ranks);
    auto const new_name = cheapest_renaming(overlaps, classes, num_ranks);
    for (RankId rank(0); rank.value() < target.num_ranks(); ++rank) {
      RankId const name(static_cast<std::int32_t>(new_name[rank.index()]));
      auto const first = to_size(layer) * to_size(target.num_slots()) + layout.first_slot(name).index();
      placement::place_contents(current.rank_slots(layer, name), target.rank_slots(layer, rank),
                                std::span(slots).subspan(first, to_size(layout.slots_of(name))));
    }
  }
  return ExpertPlacement(target.num_layers(), target.num_experts(), layout, std::move(slots));
}

}  // namespace switchyard
