// SPDX-License-Identifier: Apache-2.0
/// LayerBuilder with one tier of links: a round is a matching of senders and receivers.
#include <algorithm>

#include "layer_builder.hpp"

namespace switchyard::rebalance {

/// What a script has planned and is possible goes first; what it leaves free is filled like any other round.
void LayerBuilder::choose_by_matching(std::span<Hop const> script) {
  auto const receivers = receivers_by_need();
  std::vector<RankId> waiting;
  for (Hop const& hop : script) offer_if_possible(hop);
  if (script.empty()) offer_from_burdened_guardians();
  auto served = std::count(served_.begin(), served_.end(), true);
  int const limit = schedule_.limits.max_transfers_per_round;
  for (RankId const to : receivers) {
    if (limit > 0 && served >= limit) break;
    if (served_[to.index()]) continue;
    sort_needs(to);
    if (serve_freely(to))
      ++served;
    else
      waiting.push_back(to);
  }
  for (RankId const to : waiting) {
    if (limit > 0 && served >= limit) break;
    if (serve_by_stealing(to)) {
      ++served;
      ++search_;
    } else {
      replace_less_needy(to);
    }
  }
  for (auto const& offer : offer_)
    if (offer) hops_.push_back(*offer);
}

void LayerBuilder::offer_if_possible(Hop hop) {
  if (!contains(lacking_[hop.to.index()], hop.expert) || !can_land(hop.to) || !can_offer(hop.from, hop.expert)) return;
  offer_[hop.from.index()] = hop;
  served_[hop.to.index()] = true;
}

/// A guardian with as many experts to hand over as any rank has rounds left must send in every one of them.
void LayerBuilder::offer_from_burdened_guardians() {
  std::size_t horizon = 1;
  for (auto const& experts : lacking_) horizon = std::max(horizon, experts.size());
  int served = 0;
  int const limit = schedule_.limits.max_transfers_per_round;
  for (RankId from(0); from.index() < guarded_.size(); ++from) {
    if (to_size(guarded_[from.index()]) < horizon || (limit > 0 && served == limit)) continue;
    Hop best{kNoExpert, from, RankId(-1)};
    for (ExpertId const expert : guards_[from.index()]) {
      if (rows_.guardian(expert) != from) continue;
      RankId const to = neediest_receiver(expert);
      if (!to.valid()) continue;
      bool const more = !best.to.valid() || lacking_[to.index()].size() > lacking_[best.to.index()].size();
      if (more) best = {expert, from, to};
    }
    if (!best.to.valid()) continue;
    offer_[from.index()] = best;
    served_[best.to.index()] = true;
    ++served;
  }
}

RankId LayerBuilder::neediest_receiver(ExpertId expert) const {
  RankId neediest(-1);
  for (RankId const to : needs_.of_expert[expert.index()]) {
    if (served_[to.index()] || !can_land(to) || !contains(lacking_[to.index()], expert)) continue;
    if (!neediest.valid() || lacking_[to.index()].size() > lacking_[neediest.index()].size()) neediest = to;
  }
  return neediest;
}

bool LayerBuilder::serve_freely(RankId to) {
  for (ExpertId const expert : lacking_[to.index()]) {
    auto const& sources = sources_[expert.index()];
    auto& next = next_source_[expert.index()];
    while (next < sources.size() && (offer_[sources[next].index()] || !can_offer(sources[next], expert))) ++next;
    if (next == sources.size()) continue;
    offer_[sources[next].index()] = Hop{expert, sources[next], to};
    return true;
  }
  return false;
}

/// An augmenting path. Ranks that a failed search has seen cannot help later in the round, so they stay marked.
bool LayerBuilder::serve_by_stealing(RankId to) {
  for (ExpertId const expert : lacking_[to.index()]) {
    for (RankId const from : sources_[expert.index()]) {
      if (seen_[from.index()] == search_ || !can_offer(from, expert)) continue;
      seen_[from.index()] = search_;
      auto const taken = offer_[from.index()];
      if (taken && !serve_by_stealing(taken->to)) continue;
      offer_[from.index()] = Hop{expert, from, to};
      return true;
    }
  }
  return false;
}

/// The other receiver waits instead: it has fewer rounds to fill.
void LayerBuilder::replace_less_needy(RankId to) {
  for (ExpertId const expert : lacking_[to.index()]) {
    for (RankId const from : sources_[expert.index()]) {
      if (!can_offer(from, expert)) continue;
      auto& offer = offer_[from.index()];
      if (offer && lacking_[offer->to.index()].size() >= lacking_[to.index()].size()) continue;
      offer = Hop{expert, from, to};
      return;
    }
  }
}

}  // namespace switchyard::rebalance
