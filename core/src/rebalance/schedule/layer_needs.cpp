// SPDX-License-Identifier: Apache-2.0
#include "layer_needs.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace switchyard::rebalance {
namespace {

int ceil_div(std::int64_t amount, std::int64_t per_round) {
  return static_cast<int>((amount + per_round - 1) / per_round);
}

void keep_larger(RoundBound& best, RoundBound other) {
  if (other.rounds > best.rounds) best = std::move(other);
}

RoundBound bound_of_receivers(LayerNeeds const& needs, Tiers const& tiers) {
  RoundBound best;
  for (RankId rank(0); rank.index() < needs.of_rank.size(); ++rank) {
    int const rounds = ceil_div(static_cast<std::int64_t>(needs.of_rank[rank.index()].size()), tiers.ports());
    if (rounds > best.rounds) best = {BoundKind::receive, rounds, {rank}, kNoExpert};
  }
  return best;
}

/// How many experts each node needs from outside.
std::vector<int> count_imports(LayerNeeds const& needs, Tiers const& tiers) {
  std::vector<int> imports(to_size(tiers.num_nodes()), 0);
  for (ExpertId const expert : needs.wanted) {
    std::vector<int> holding;
    for (Holder const& holder : needs.holders(expert)) holding.push_back(tiers.node_of(holder.rank));
    int last = -1;
    for (RankId const rank : needs.of_expert[expert.index()]) {
      int const node = tiers.node_of(rank);
      if (std::exchange(last, node) != node && !std::binary_search(holding.begin(), holding.end(), node))
        ++imports[to_size(node)];
    }
  }
  return imports;
}

RoundBound bound_of_nodes(LayerNeeds const& needs, Tiers const& tiers) {
  RoundBound best;
  if (tiers.one_tier()) return best;
  auto const imports = count_imports(needs, tiers);
  for (int node = 0; node < tiers.num_nodes(); ++node) {
    int const rounds = ceil_div(imports[to_size(node)], tiers.ranks_per_node());
    if (rounds <= best.rounds) continue;
    best = {BoundKind::node, rounds, {}, kNoExpert};
    for (int i = 0; i < tiers.ranks_per_node(); ++i) best.ranks.emplace_back(tiers.first_rank(node).value() + i);
  }
  return best;
}

RoundBound bound_of_senders(LayerNeeds const& needs, Tiers const& tiers, EvenAssignment const& guardians) {
  if (guardians.witness.empty()) return {};
  std::vector<RankId> ranks;
  for (int const rank : guardians.witness) ranks.emplace_back(rank);
  auto const inside = [&](Holder const& holder) { return std::binary_search(ranks.begin(), ranks.end(), holder.rank); };
  auto const count = std::count_if(needs.wanted.begin(), needs.wanted.end(), [&](ExpertId expert) {
    auto const holders = needs.holders(expert);
    return std::all_of(holders.begin(), holders.end(), inside);
  });
  auto const per_round = static_cast<std::int64_t>(ranks.size()) * tiers.ports();
  return {BoundKind::send, ceil_div(count, per_round), std::move(ranks), kNoExpert};
}

/// In one round every holder can make as many further holders as it has ports.
RoundBound bound_of_spreading(LayerNeeds const& needs, Tiers const& tiers) {
  RoundBound best;
  for (ExpertId const expert : needs.wanted) {
    auto holders = static_cast<std::int64_t>(needs.holders(expert).size());
    auto const goal = holders + static_cast<std::int64_t>(needs.of_expert[expert.index()].size());
    int rounds = 0;
    for (; holders < goal; ++rounds) holders *= 1 + tiers.ports();
    if (rounds > best.rounds) best = {BoundKind::spread, rounds, {}, expert};
  }
  return best;
}

}  // namespace

LayerNeeds::LayerNeeds(ExpertPlacement const& before, ExpertPlacement const& after, int layer)
    : held(before, layer), of_rank(to_size(before.num_ranks())), of_expert(to_size(before.num_experts())) {
  HolderTable const holding(after, layer);
  for (ExpertId expert(0); expert.value() < before.num_experts(); ++expert) {
    auto const now = held.of(expert.index());
    auto const then = holding.of(expert.index());
    std::vector<Holder> lacking;
    std::set_difference(then.begin(), then.end(), now.begin(), now.end(), std::back_inserter(lacking),
                        [](Holder a, Holder b) { return a.rank < b.rank; });
    for (Holder const& holder : lacking) {
      of_rank[holder.rank.index()].push_back(expert);
      of_expert[expert.index()].push_back(holder.rank);
    }
    if (!lacking.empty()) wanted.push_back(expert);
    total += static_cast<std::int64_t>(lacking.size());
  }
}

EvenAssignment assign_guardians(LayerNeeds const& needs, int num_ranks) {
  CandidateGroups groups;
  std::vector<int> group_of;
  for (ExpertId const expert : needs.wanted) {
    group_of.push_back(groups.add_group());
    for (Holder const& holder : needs.holders(expert)) groups.add(holder.rank.value());
  }
  return assign_evenly(group_of, groups, num_ranks);
}

RoundBound find_bound(LayerNeeds const& needs, Tiers const& tiers, EvenAssignment const& guardians) {
  RoundBound best = bound_of_receivers(needs, tiers);
  keep_larger(best, bound_of_nodes(needs, tiers));
  keep_larger(best, bound_of_senders(needs, tiers, guardians));
  keep_larger(best, bound_of_spreading(needs, tiers));
  return best;
}

}  // namespace switchyard::rebalance
