// SPDX-License-Identifier: Apache-2.0
#include "round_script.hpp"

#include <algorithm>
#include <numeric>

#include "edge_colouring.hpp"

namespace switchyard::rebalance {
namespace {

/// The ranks of one node among `ranks` (ascending).
std::span<RankId const> ranks_in_node(std::vector<RankId> const& ranks, Tiers const& tiers, int node) {
  auto const first = std::lower_bound(ranks.begin(), ranks.end(), tiers.first_rank(node));
  auto const last = std::lower_bound(first, ranks.end(), tiers.first_rank(node + 1));
  return {first, last};
}

/// The nodes that lack an expert and need it, with the ranks that do.
template <typename Visit>
void for_each_import(LayerNeeds const& needs, Tiers const& tiers, Visit const& visit) {
  for (ExpertId const expert : needs.wanted) {
    auto const& lacking = needs.of_expert[expert.index()];
    for (std::size_t i = 0; i < lacking.size();) {
      int const node = tiers.node_of(lacking[i]);
      auto const receivers = ranks_in_node(lacking, tiers, node);
      auto const holders = needs.holders(expert);
      bool const held = std::any_of(holders.begin(), holders.end(),
                                    [&](Holder const& holder) { return tiers.node_of(holder.rank) == node; });
      if (!held) visit(expert, receivers);
      i += receivers.size();
    }
  }
}

void add_holders(CandidateGroups& groups, std::span<Holder const> holders) {
  for (Holder const& holder : holders) groups.add(holder.rank.value());
}

}  // namespace

DirectSenders choose_direct_senders(LayerNeeds const& needs) {
  CandidateGroups groups;
  std::vector<int> group_of;
  DirectSenders out;
  for (ExpertId const expert : needs.wanted) {
    int const group = groups.add_group();
    add_holders(groups, needs.holders(expert));
    for (RankId const rank : needs.of_expert[expert.index()]) {
      group_of.push_back(group);
      out.hops.push_back({expert, RankId(-1), rank});
    }
  }
  for (auto const& experts : needs.of_rank)
    out.largest_receives = std::max(out.largest_receives, static_cast<int>(experts.size()));
  auto const senders = assign_evenly(group_of, groups, static_cast<int>(needs.of_rank.size()), out.largest_receives);
  for (std::size_t i = 0; i < out.hops.size(); ++i) out.hops[i].from = RankId(senders.chosen[i]);
  out.largest = senders.largest;
  return out;
}

std::vector<Hop> hops_of(LayerTransfers const& layer) {
  std::vector<Hop> hops;
  for (RankId rank(0); rank.index() < layer.ranks.size(); ++rank)
    for (ExpertSend const& send : layer.ranks[rank.index()].sends) hops.push_back({send.expert, rank, send.to});
  return hops;
}

std::vector<Hop> choose_network_hops(LayerNeeds const& needs, Tiers const& tiers) {
  CandidateGroups sender_groups;
  CandidateGroups receiver_groups;
  std::vector<int> group_of;
  std::vector<Hop> hops;
  for_each_import(needs, tiers, [&](ExpertId expert, std::span<RankId const> receivers) {
    group_of.push_back(sender_groups.add_group());
    receiver_groups.add_group();
    add_holders(sender_groups, needs.holders(expert));
    for (RankId const rank : receivers) receiver_groups.add(rank.value());
    hops.push_back({expert, RankId(-1), RankId(-1)});
  });
  int const num_ranks = static_cast<int>(needs.of_rank.size());
  auto const receivers = assign_evenly(group_of, receiver_groups, num_ranks);
  auto const senders = assign_evenly(group_of, sender_groups, num_ranks, receivers.largest);
  for (std::size_t i = 0; i < hops.size(); ++i) {
    hops[i].from = RankId(senders.chosen[i]);
    hops[i].to = RankId(receivers.chosen[i]);
  }
  return hops;
}

RoundScript put_into_rounds(std::vector<Hop> const& hops, std::vector<int> const& weight, int num_ranks, int max_hops) {
  std::vector<BipartiteEdge> edges;
  for (Hop const& hop : hops) edges.push_back({hop.from.value(), hop.to.value()});
  int rounds = max_degree(edges, num_ranks, num_ranks);
  if (max_hops > 0) rounds = std::max(rounds, (static_cast<int>(hops.size()) + max_hops - 1) / max_hops);
  auto const colours = colour_edges(edges, num_ranks, num_ranks, rounds, max_hops);
  std::vector<std::int64_t> weight_of(to_size(rounds), 0);
  for (std::size_t i = 0; i < weight.size(); ++i) weight_of[to_size(colours[i])] += weight[i];
  std::vector<int> order(to_size(rounds));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return weight_of[to_size(a)] > weight_of[to_size(b)]; });
  std::vector<std::size_t> place(to_size(rounds));
  for (std::size_t i = 0; i < order.size(); ++i) place[to_size(order[i])] = i;
  RoundScript script(to_size(rounds));
  for (std::size_t i = 0; i < hops.size(); ++i) script[place[to_size(colours[i])]].push_back(hops[i]);
  return script;
}

}  // namespace switchyard::rebalance
