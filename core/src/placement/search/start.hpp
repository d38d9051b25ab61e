// SPDX-License-Identifier: Apache-2.0
/// Where a search starts: greedy replica counts, packed heaviest first without two replicas on a rank.
#pragma once

#include <cstddef>
#include <vector>

#include "layer_state.hpp"

namespace switchyard::placement {

/// Some experts that have to live on some ranks: everything, or a node with its groups.
struct Domain {
  std::vector<std::size_t> experts{};  // ascending
  std::vector<std::size_t> ranks{};    // ascending, live
  std::size_t slots = 0;               // how many of the ranks' slots to fill
};

/// One domain, or with a limit of nodes per group one per node: groups packed heaviest first onto the node with the
/// lowest load per speed that has room. @param slots_to_fill over all domains; a node gets its part by its slots.
/// @throws Error{invalid_argument} when the groups do not fit the nodes.
[[nodiscard]] std::vector<Domain> domains_of(Cluster const& cluster, SlotFigures& figures, std::size_t slots_to_fill);

/// Replicas of every expert of a domain: one each, then each further one to the expert with the largest slot figure,
/// the lowest on a tie, as long as that shrinks it. [experts of the model], 0 outside the domain.
[[nodiscard]] std::vector<std::size_t> greedy_replicas(Cluster const& cluster, SlotFigures& figures,
                                                       Domain const& domain);

/// Packs replicas heaviest first (ties: lower expert) onto the rank whose value stays lowest (ties: lower rank), among
/// those with a free slot that may take it. A replica that fits nowhere trades places with one that does; a replica
/// that cannot even do that is left out, its slot stays empty. @param slots [slots] receives the experts.
void pack(Cluster const& cluster, SlotFigures& figures, Domain const& domain, std::vector<std::size_t> const& replicas,
          std::vector<std::size_t>& slots);

/// The greedy start of a layer.
[[nodiscard]] LayerState greedy_start(Cluster const& cluster, SlotFigures& figures, std::size_t slots_to_fill);

/// Moves every second replica of an expert off a rank that holds it twice: by the exchange that keeps the larger of the
/// two ranks lowest, else by giving the slot to another expert. @return how many slots were at fault.
std::size_t remove_duplicates(LayerState& state);

}  // namespace switchyard::placement
