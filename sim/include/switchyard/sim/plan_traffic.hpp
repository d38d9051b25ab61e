// SPDX-License-Identifier: Apache-2.0
/// Flows of real plans: what a dispatch, its combine or a rebalance sends between which ranks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/routing/routing_map.hpp"
#include "switchyard/sim/flow.hpp"

namespace switchyard::sim {

/// Flows that start together after the previous phase has ended on all ranks.
struct TrafficPhase {
  std::string name;
  std::vector<Flow> flows;
};

/// Every exchange and gather of the plans, in stage order. One message per pair with rows.
/// @param plans of all ranks, rank ascending. @param row_bytes of one token row. @throws Error{shape_mismatch} for an
///        incomplete group, Error{invalid_argument} for row_bytes below 1 or sums beyond 64 bits.
[[nodiscard]] std::vector<TrafficPhase> dispatch_traffic(std::span<DispatchPlan const> plans, std::int64_t row_bytes);
/// The way back of dispatch_traffic: phases reversed, directions swapped.
[[nodiscard]] std::vector<TrafficPhase> combine_traffic(std::span<DispatchPlan const> plans, std::int64_t row_bytes);

/// Any phases turned round: the last one first, every flow back to where it came from.
[[nodiscard]] std::vector<TrafficPhase> way_back(std::vector<TrafficPhase> phases);

/// How often a token travels to the same place.
enum class Deduplication : std::uint8_t {
  none,      ///< once per expert chosen
  per_rank,  ///< once per destination rank
  per_node,  ///< once per destination node, to the GPU on the source's rail, which forwards it once per rank
};
[[nodiscard]] std::string_view to_string(Deduplication deduplication) noexcept;

/// A dispatch straight from the routing of all ranks, without a plan. per_node gives two phases, "to nodes" and
/// "inside nodes".
/// @param placement where experts lie; of replicas a token takes the one that ReplicaRule::token_rank_layer names, as
///        dispatch plans do. @throws Error{shape_mismatch} when ranks, experts or the cluster do not fit.
[[nodiscard]] std::vector<TrafficPhase> routing_traffic(ClusterTopology const& topology,
                                                        std::span<RoutingMap const> routings,
                                                        ExpertPlacement const& placement, int layer,
                                                        std::int64_t row_bytes, Deduplication deduplication);

/// [ranks][local slots] rows that the experts of a layer compute, replicas chosen as in routing_traffic().
/// @throws Error{shape_mismatch} when the routings' experts are not the placement's.
[[nodiscard]] std::vector<std::vector<std::int64_t>> routed_expert_rows(std::span<RoutingMap const> routings,
                                                                        ExpertPlacement const& placement, int layer);

/// One layer of a rebalance, one flow per expert that changes ranks, senders ascending.
[[nodiscard]] std::vector<Flow> layer_flows(LayerTransfers const& layer, std::int64_t expert_bytes);
/// One phase per layer that moves something. @param expert_bytes of one expert's weights in one layer.
[[nodiscard]] std::vector<TrafficPhase> rebalance_traffic(RebalancePlan const& plan, std::int64_t expert_bytes);

}  // namespace switchyard::sim
