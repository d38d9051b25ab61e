// SPDX-License-Identifier: Apache-2.0
// Flows straight from a routing: how many rows go where, with each token counted as often as it travels.
#include <algorithm>
#include <utility>

#include "switchyard/dispatch/replica_rule.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/sim/plan_traffic.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::sim {
namespace {

void require_experts(std::span<RoutingMap const> routings, ExpertPlacement const& placement) {
  for (std::size_t rank = 0; rank < routings.size(); ++rank)
    SWITCHYARD_REQUIRE(routings[rank].num_experts() == placement.num_experts(), shape_mismatch,
                       "rank {}'s routing has {} experts, the placement {}", rank, routings[rank].num_experts(),
                       placement.num_experts());
}

void require_fit(ClusterTopology const& topology, std::span<RoutingMap const> routings,
                 ExpertPlacement const& placement) {
  auto const ranks = static_cast<std::size_t>(topology.num_ranks());
  SWITCHYARD_REQUIRE(routings.size() == ranks && placement.num_ranks() == topology.num_ranks(), shape_mismatch,
                     "{} routings and a placement on {} ranks for a cluster of {}: they must be equal", routings.size(),
                     placement.num_ranks(), topology.num_ranks());
  require_experts(routings, placement);
}

/// Which slot a choice of an expert goes to: replicas by token, rank and layer, as dispatch plans choose them.
class Homes {
 public:
  Homes(ExpertPlacement const& placement, int layer) : replicas_(placement, layer), layer_(layer) {
    for (int rank = 0; rank < placement.num_ranks(); ++rank)
      rank_of_slot_.insert(rank_of_slot_.end(), to_size(placement.layout().slots_of(RankId(rank))), rank);
    for (int expert = 0; expert < placement.num_experts(); ++expert)
      SWITCHYARD_REQUIRE(!replicas_.replicas(ExpertId(expert)).empty(), invalid_placement,
                         "expert {} of layer {} has no slot: no token can reach it", expert, layer);
  }

  [[nodiscard]] SlotId slot(int expert, std::int64_t token, int source) const {
    auto const slots = replicas_.replicas(ExpertId(expert));
    if (slots.size() == 1) return slots.front();
    return slots[to_size(choose_replica(ReplicaRule::token_rank_layer, TokenIndex(token), RankId(source), layer_,
                                        static_cast<std::int64_t>(slots.size())))];
  }
  [[nodiscard]] int rank(int expert, std::int64_t token, int source) const {
    return rank_of_slot_[slot(expert, token, source).index()];
  }

 private:
  std::vector<int> rank_of_slot_{};  ///< looked up for every choice
  ReplicaTable replicas_;
  int layer_;
};

/// Counts the places of one token at a time.
class PlaceSet {
 public:
  explicit PlaceSet(int places) : seen_(to_size(places), -1) {}
  /// @return whether `place` is new for `token`.
  bool add(int place, std::int64_t token) { return std::exchange(seen_[to_size(place)], token) != token; }

 private:
  std::vector<std::int64_t> seen_;
};

template <typename Visit>
void for_each_choice(RoutingMap const& routing, Visit const& visit) {
  RoutingMap const topk = routing.form() == RoutingForm::topk ? routing : routing.to_topk();
  for (std::int64_t token = 0; token < topk.num_tokens(); ++token)
    for (int k = 0; k < topk.top_k(); ++k) {
      auto const expert = topk.ids()[to_size(token * topk.top_k() + k)];
      if (expert >= 0) visit(token, expert);
    }
}

void append_flows(std::vector<Flow>& flows, RankId from, std::vector<std::int64_t> const& rows,
                  std::int64_t row_bytes) {
  for (std::size_t to = 0; to < rows.size(); ++to)
    if (rows[to] > 0) flows.push_back({from, RankId(static_cast<int>(to)), checked_mul(rows[to], row_bytes), 1, 0});
}

std::vector<TrafficPhase> straight(std::span<RoutingMap const> routings, Homes const& homes, int ranks,
                                   std::int64_t row_bytes, bool once_per_rank) {
  TrafficPhase phase{"exchange", {}};
  for (std::size_t from = 0; from < routings.size(); ++from) {
    std::vector<std::int64_t> rows(to_size(ranks), 0);
    PlaceSet seen(ranks);
    for_each_choice(routings[from], [&](std::int64_t token, int expert) {
      int const to = homes.rank(expert, token, static_cast<int>(from));
      if (!once_per_rank || seen.add(to, token)) ++rows[to_size(to)];
    });
    append_flows(phase.flows, RankId(static_cast<int>(from)), rows, row_bytes);
  }
  return {phase};
}

/// Two hops: the GPU of a node that stands where the source stands in its own takes the node's copy of a token and
/// hands it on; on the source's node that GPU is the source itself.
std::vector<TrafficPhase> by_node(ClusterTopology const& topology, std::span<RoutingMap const> routings,
                                  Homes const& homes, std::int64_t row_bytes) {
  int const ranks = topology.num_ranks();
  int const per_node = topology.spec().gpus_per_node;
  TrafficPhase to_nodes{"to nodes", {}};
  std::vector<std::vector<std::int64_t>> forwarded(to_size(ranks));
  for (int from = 0; from < ranks; ++from) {
    std::vector<std::int64_t> rows(to_size(ranks), 0);
    PlaceSet nodes(topology.spec().nodes);
    PlaceSet finals(ranks);
    for_each_choice(routings[to_size(from)], [&](std::int64_t token, int expert) {
      int const to = homes.rank(expert, token, from);
      int const forwarder = to / per_node * per_node + from % per_node;
      if (nodes.add(to / per_node, token)) ++rows[to_size(forwarder)];
      if (!finals.add(to, token)) return;
      auto& row = forwarded[to_size(forwarder)];
      row.resize(to_size(per_node), 0);
      ++row[to_size(to % per_node)];
    });
    append_flows(to_nodes.flows, RankId(from), rows, row_bytes);
  }
  TrafficPhase inside{"inside nodes", {}};
  for (int forwarder = 0; forwarder < ranks; ++forwarder) {
    auto const& row = forwarded[to_size(forwarder)];
    for (std::size_t local = 0; local < row.size(); ++local)
      if (row[local] > 0)
        inside.flows.push_back({RankId(forwarder), RankId(forwarder / per_node * per_node + static_cast<int>(local)),
                                checked_mul(row[local], row_bytes), 1, 0});
  }
  return {to_nodes, inside};
}

}  // namespace

std::string_view to_string(Deduplication deduplication) noexcept {
  switch (deduplication) {
    case Deduplication::per_rank: return "per_rank";
    case Deduplication::per_node: return "per_node";
    default: return "none";
  }
}

std::vector<TrafficPhase> routing_traffic(ClusterTopology const& topology, std::span<RoutingMap const> routings,
                                          ExpertPlacement const& placement, int layer, std::int64_t row_bytes,
                                          Deduplication deduplication) {
  SWITCHYARD_REQUIRE(row_bytes >= 1, invalid_argument, "a row of {} bytes moves nothing: give its size", row_bytes);
  require_fit(topology, routings, placement);
  Homes const homes(placement, layer);
  if (deduplication == Deduplication::per_node) return by_node(topology, routings, homes, row_bytes);
  return straight(routings, homes, topology.num_ranks(), row_bytes, deduplication == Deduplication::per_rank);
}

std::vector<std::vector<std::int64_t>> routed_expert_rows(std::span<RoutingMap const> routings,
                                                          ExpertPlacement const& placement, int layer) {
  require_experts(routings, placement);
  Homes const homes(placement, layer);
  std::vector<std::int64_t> rows_of_slot(to_size(placement.num_slots()), 0);
  for (std::size_t from = 0; from < routings.size(); ++from)
    for_each_choice(routings[from], [&](std::int64_t token, int expert) {
      ++rows_of_slot[homes.slot(expert, token, static_cast<int>(from)).index()];
    });
  std::vector<std::vector<std::int64_t>> rows;
  auto next = rows_of_slot.begin();
  for (int rank = 0; rank < placement.num_ranks(); ++rank) {
    auto const end = next + placement.layout().slots_of(RankId(rank));
    rows.emplace_back(next, end);
    next = end;
  }
  return rows;
}

}  // namespace switchyard::sim
