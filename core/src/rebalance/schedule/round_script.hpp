// SPDX-License-Identifier: Apache-2.0
/// Hop: one expert from rank to rank; scripts of hops per round, before rows are chosen.
#pragma once

#include <optional>
#include <vector>

#include "layer_needs.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::rebalance {

struct Hop {
  ExpertId expert;
  RankId from;
  RankId to;
  friend bool operator==(Hop const&, Hop const&) = default;
};
using RoundScript = std::vector<std::vector<Hop>>;  // [rounds]

/// Every rank gets what it lacks straight from a rank that holds it.
struct DirectSenders {
  std::vector<Hop> hops{};
  int largest = 0;  ///< sends of the busiest rank: the least possible, unless receives exceed it
  int largest_receives = 0;
};
[[nodiscard]] DirectSenders choose_direct_senders(LayerNeeds const& needs);

/// The hops of a layer planned by plan_rebalance().
[[nodiscard]] std::vector<Hop> hops_of(LayerTransfers const& layer);

/// One hop per expert and node that lacks it, senders and receivers chosen as evenly as possible.
[[nodiscard]] std::vector<Hop> choose_network_hops(LayerNeeds const& needs, Tiers const& tiers);

/// Colours the hops: at most one send and one receive per rank and round, at most `max_hops` per round (0 = no limit),
/// as few rounds as both allow. Rounds with hops that `weight` (per hop) makes heavier come first.
[[nodiscard]] RoundScript put_into_rounds(std::vector<Hop> const& hops, std::vector<int> const& weight, int num_ranks,
                                          int max_hops);

}  // namespace switchyard::rebalance
