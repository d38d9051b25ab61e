// SPDX-License-Identifier: Apache-2.0
/// LayerBuilder: turns needs into the rounds of one layer, round by round, on rows.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "layer_needs.hpp"
#include "layer_rows.hpp"
#include "round_ports.hpp"
#include "round_script.hpp"

namespace switchyard::rebalance {

[[nodiscard]] inline bool contains(std::vector<ExpertId> const& experts, ExpertId expert) {
  return std::find(experts.begin(), experts.end(), expert) != experts.end();
}

/// Buffered: every row that arrives gets a spare row of its own, slots change in the commit only. Otherwise it lands in
/// a dead row, its own slot first, and slots are set right as soon as they are dead.
///
/// One spare row always suffices without buffering. Suppose no rank that lacks something has a dead row. Such a rank
/// has at least (experts it lacks) + 1 rows that it must keep as a guardian, because what it keeps for itself, what it
/// has received and what it lacks fit into its slots. Every guarded expert is lacked by somebody, so the guarded ones
/// would outnumber the experts that are lacked: a contradiction.
class LayerBuilder {
 public:
  /// @param guardians one rank per expert of needs.wanted (ignored when buffered).
  LayerBuilder(RebalanceSchedule const& schedule, int layer, Tiers const& tiers, LayerNeeds const& needs,
               std::vector<int> const& guardians);

  /// Builds rounds until nobody lacks anything. @param script hops of the first rounds, with at most one send and one
  /// receive per rank. Two tiers: the network's hops, all of which are taken; the builder adds those inside nodes. One
  /// tier: hops that rows do not allow at that time are left for later. Without a script it chooses all hops.
  LayerSchedule build(RoundScript const* script = nullptr);
  /// Builds exactly the rounds of `script`, which must bring everything.
  LayerSchedule replay(RoundScript const& script);

 private:
  void start_round();
  void end_round(LayerSchedule& out);
  void finish(LayerSchedule& out);

  void choose_by_matching(std::span<Hop const> script);
  void offer_if_possible(Hop hop);
  void offer_from_burdened_guardians();
  [[nodiscard]] RankId neediest_receiver(ExpertId expert) const;
  bool serve_freely(RankId to);
  bool serve_by_stealing(RankId to);
  void replace_less_needy(RankId to);
  void choose_network_hops();
  void choose_node_hops();
  std::vector<RankId> receivers_by_need() const;
  void sort_needs(RankId rank);
  [[nodiscard]] bool can_land(RankId rank) const;
  [[nodiscard]] bool can_offer(RankId rank, ExpertId expert) const;
  [[nodiscard]] RankId find_near_source(RankId to, ExpertId expert, bool with_free_port) const;
  [[nodiscard]] RankId find_far_source(ExpertId expert);
  void take(Hop hop);

  void arrive(RowTransfer const& transfer);
  [[nodiscard]] LocalExpertId landing_row(RankId rank, ExpertId expert) const;

  RebalanceSchedule const& schedule_;
  Tiers const& tiers_;
  LayerNeeds const& needs_;
  LayerRows rows_;
  RoundPorts ports_;
  bool buffered_;
  std::vector<std::vector<ExpertId>> lacking_;  // [ranks] not yet there
  std::vector<std::vector<RankId>> sources_;    // [experts] ranks that have held it; some may not any more
  std::vector<int> guarded_;                    // [ranks] experts that it guards
  std::vector<std::vector<ExpertId>> guards_;   // [ranks] which; released ones too
  std::vector<int> remaining_;                  // [experts] ranks that lack it
  std::int64_t total_lacking_;

  // the round under construction
  std::vector<Hop> hops_{};
  std::vector<std::optional<Hop>> offer_;  // [ranks] what it sends, while matching
  std::vector<bool> served_;               // [ranks] somebody offers it something
  std::vector<int> lendable_;              // [ranks] dead rows that may still be sent from
  std::vector<int> landings_;              // [ranks] rows that may still be received into
  std::vector<std::size_t> next_source_;   // [experts] sources before it are busy
  std::vector<int> seen_;                  // [ranks] the last search for an augmenting path that came by
  int search_ = 0;
  std::vector<std::vector<ExpertId>> incoming_;          // [ranks] what the round brings
  std::vector<std::vector<ExpertId>> incoming_of_node_;  // [nodes] over the network
  std::vector<std::vector<LocalExpertId>> busy_rows_;    // [ranks] rows that the round reads or writes
};

}  // namespace switchyard::rebalance
