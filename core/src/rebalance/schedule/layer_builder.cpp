// SPDX-License-Identifier: Apache-2.0
#include "layer_builder.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "switchyard/internal/require.hpp"

namespace switchyard::rebalance {

LayerBuilder::LayerBuilder(RebalanceSchedule const& schedule, int layer, Tiers const& tiers, LayerNeeds const& needs,
                           std::vector<int> const& guardians)
    : schedule_(schedule),
      tiers_(tiers),
      needs_(needs),
      rows_(schedule, layer),
      ports_(tiers, rows_.num_ranks(), schedule.limits.max_transfers_per_round),
      buffered_(schedule.limits.spare_rows == ScheduleLimits::kFullyBuffered),
      lacking_(needs.of_rank),
      sources_(needs.of_expert.size()),
      guarded_(lacking_.size(), 0),
      guards_(lacking_.size()),
      remaining_(needs.of_expert.size(), 0),
      total_lacking_(needs.total),
      offer_(lacking_.size()),
      served_(lacking_.size(), false),
      lendable_(lacking_.size(), 0),
      landings_(lacking_.size(), 0),
      next_source_(needs.of_expert.size(), 0),
      seen_(lacking_.size(), -1),
      incoming_(lacking_.size()),
      incoming_of_node_(to_size(tiers.num_nodes())),
      busy_rows_(lacking_.size()) {
  for (std::size_t i = 0; i < needs.wanted.size(); ++i) {
    ExpertId const expert = needs.wanted[i];
    for (Holder const& holder : needs.holders(expert)) sources_[expert.index()].push_back(holder.rank);
    remaining_[expert.index()] = static_cast<int>(needs.of_expert[expert.index()].size());
    rows_.set_guardian(expert, RankId(guardians[i]));
    rows_.set_lacked(expert, true);
    ++guarded_[to_size(guardians[i])];
    guards_[to_size(guardians[i])].push_back(expert);
  }
}

LayerSchedule LayerBuilder::build(RoundScript const* script) {
  LayerSchedule out;
  while (total_lacking_ > 0) {
    start_round();
    bool const scripted = script != nullptr && out.rounds.size() < script->size();
    auto const hops = scripted ? std::span<Hop const>((*script)[out.rounds.size()]) : std::span<Hop const>();
    if (tiers_.one_tier()) {
      choose_by_matching(hops);
    } else {
      for (Hop const& hop : hops) take(hop);
      if (script == nullptr) choose_network_hops();
      choose_node_hops();
    }
    SWITCHYARD_REQUIRE(!hops_.empty(), internal, "no transfer is possible although {} are left: report this plan",
                       total_lacking_);
    end_round(out);
  }
  finish(out);
  return out;
}

LayerSchedule LayerBuilder::replay(RoundScript const& script) {
  LayerSchedule out;
  for (auto const& hops : script) {
    start_round();
    hops_ = hops;
    end_round(out);
  }
  finish(out);
  return out;
}

void LayerBuilder::start_round() {
  hops_.clear();
  ports_.clear();
  ++search_;
  for (auto& experts : incoming_) experts.clear();
  for (auto& experts : incoming_of_node_) experts.clear();
  for (auto& busy : busy_rows_) busy.clear();
  for (auto& offer : offer_) offer.reset();
  served_.assign(served_.size(), false);
  std::fill(next_source_.begin(), next_source_.end(), std::size_t{0});
  if (buffered_) return;
  for (RankId rank(0); rank.index() < lacking_.size(); ++rank) {
    auto const lacking = static_cast<int>(lacking_[rank.index()].size());
    int const dead = rows_.count_dead(rank);
    landings_[rank.index()] = std::min({lacking, tiers_.ports(), dead});
    lendable_[rank.index()] = dead - landings_[rank.index()];
  }
}

void LayerBuilder::end_round(LayerSchedule& out) {
  TransferRound round;
  std::sort(hops_.begin(), hops_.end(), [](Hop const& a, Hop const& b) {
    return std::tie(a.from, a.to, a.expert) < std::tie(b.from, b.to, b.expert);
  });
  // Rows are read before any is written: first all sources, then a landing row for each.
  for (Hop const& hop : hops_) {
    LocalExpertId const row = rows_.source_row(hop.from, hop.expert);
    round.transfers.push_back({hop.expert, hop.from, row, hop.to, LocalExpertId(-1)});
    busy_rows_[hop.from.index()].push_back(row);
  }
  for (RowTransfer& transfer : round.transfers) {
    transfer.target_row = landing_row(transfer.to, transfer.expert);
    busy_rows_[transfer.to.index()].push_back(transfer.target_row);
  }
  for (RowTransfer const& t : round.transfers) arrive(t);
  if (!buffered_)
    for (RankId rank(0); rank.index() < busy_rows_.size(); ++rank)
      if (!busy_rows_[rank.index()].empty()) rows_.place(rank, false, round.copies);
  out.rounds.push_back(std::move(round));
}

void LayerBuilder::arrive(RowTransfer const& transfer) {
  auto const [expert, from, source_row, to, target_row] = transfer;
  rows_.write(to, target_row, expert);
  auto& lacking = lacking_[to.index()];
  lacking.erase(std::find(lacking.begin(), lacking.end(), expert));
  --total_lacking_;
  rows_.set_lacked(expert, --remaining_[expert.index()] > 0);
  sources_[expert.index()].push_back(to);
  if (RankId const guardian = rows_.guardian(expert); guardian.valid()) {
    --guarded_[guardian.index()];
    rows_.release(expert);
  }
}

/// The best dead row: one that is no good as a source, its own slot before others; slots before spare rows.
LocalExpertId LayerBuilder::landing_row(RankId rank, ExpertId expert) const {
  auto const& busy = busy_rows_[rank.index()];
  LocalExpertId best(-1);
  int best_rating = -1;
  for (LocalExpertId row(buffered_ ? rows_.num_slots(rank) : 0); row.value() < rows_.num_rows(rank); ++row) {
    if (!rows_.is_dead(rank, row) || std::find(busy.begin(), busy.end(), row) != busy.end()) continue;
    int const rating = (rows_.is_useful(rank, row) ? 0 : 2) + (rows_.is_final_for(rank, row, expert) ? 1 : 0);
    if (rating > best_rating) best = row;
    best_rating = std::max(best_rating, rating);
  }
  return best;
}

void LayerBuilder::finish(LayerSchedule& out) {
  for (RankId rank(0); rank.value() < rows_.num_ranks(); ++rank) rows_.place(rank, true, out.commit);
}

bool LayerBuilder::can_land(RankId rank) const {
  return buffered_ || landings_[rank.index()] > 0;
}

bool LayerBuilder::can_offer(RankId rank, ExpertId expert) const {
  if (!rows_.holds(rank, expert)) return false;
  return buffered_ || lendable_[rank.index()] > 0 || !rows_.is_dead(rank, rows_.source_row(rank, expert));
}

void LayerBuilder::take(Hop hop) {
  bool const intra = tiers_.same_node(hop.from, hop.to);
  ports_.take(hop.from, hop.to, intra);
  hops_.push_back(hop);
  incoming_[hop.to.index()].push_back(hop.expert);
  if (!intra) incoming_of_node_[to_size(tiers_.node_of(hop.to))].push_back(hop.expert);
  if (buffered_) return;
  --landings_[hop.to.index()];
  if (rows_.is_dead(hop.from, rows_.source_row(hop.from, hop.expert))) --lendable_[hop.from.index()];
}

/// Ranks that lack most come first: they are the ones that decide how many rounds are left.
std::vector<RankId> LayerBuilder::receivers_by_need() const {
  std::vector<RankId> receivers;
  for (RankId rank(0); rank.index() < lacking_.size(); ++rank)
    if (!lacking_[rank.index()].empty() && can_land(rank)) receivers.push_back(rank);
  std::stable_sort(receivers.begin(), receivers.end(),
                   [&](RankId a, RankId b) { return lacking_[a.index()].size() > lacking_[b.index()].size(); });
  return receivers;
}

/// Experts that burdened guardians hold come first, then those that most ranks lack.
void LayerBuilder::sort_needs(RankId rank) {
  auto const key = [&](ExpertId expert) {
    RankId const guardian = rows_.guardian(expert);
    int const burden = guardian.valid() ? guarded_[guardian.index()] : 0;
    return std::tuple(-burden, -remaining_[expert.index()], expert);
  };
  auto& lacking = lacking_[rank.index()];
  std::sort(lacking.begin(), lacking.end(), [&](ExpertId a, ExpertId b) { return key(a) < key(b); });
}

RankId LayerBuilder::find_near_source(RankId to, ExpertId expert, bool with_free_port) const {
  RankId const first = tiers_.first_rank(tiers_.node_of(to));
  for (int i = 0; i < tiers_.ranks_per_node(); ++i) {
    // Neighbours start at different places, so that they do not all ask the same rank.
    RankId const from(first.value() + (to.value() - first.value() + i) % tiers_.ranks_per_node());
    if ((!with_free_port || ports_.can_send(from, true)) && can_offer(from, expert)) return from;
  }
  return RankId(-1);
}

RankId LayerBuilder::find_far_source(ExpertId expert) {
  auto const& sources = sources_[expert.index()];
  auto& next = next_source_[expert.index()];
  while (next < sources.size() && !(ports_.can_send(sources[next], false) && can_offer(sources[next], expert))) ++next;
  return next < sources.size() ? sources[next] : RankId(-1);
}

/// An expert crosses the network to a node that has no copy, and not twice in a round.
void LayerBuilder::choose_network_hops() {
  for (RankId const to : receivers_by_need()) {
    if (ports_.full()) return;
    sort_needs(to);
    for (ExpertId const expert : lacking_[to.index()]) {
      if (contains(incoming_of_node_[to_size(tiers_.node_of(to))], expert)) continue;
      if (find_near_source(to, expert, false).valid()) continue;
      RankId const from = find_far_source(expert);
      if (!from.valid()) continue;
      take({expert, from, to});
      break;
    }
  }
}

void LayerBuilder::choose_node_hops() {
  for (RankId const to : receivers_by_need()) {
    sort_needs(to);
    for (ExpertId const expert : lacking_[to.index()]) {
      if (ports_.full()) return;
      if (!ports_.can_receive(to, true) || !can_land(to)) break;
      if (contains(incoming_[to.index()], expert)) continue;
      RankId const from = find_near_source(to, expert, true);
      if (from.valid()) take({expert, from, to});
    }
  }
}

}  // namespace switchyard::rebalance
