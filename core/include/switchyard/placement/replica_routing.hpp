// SPDX-License-Identifier: Apache-2.0
/// ReplicaRouter: which physical slot serves each of one rank's choices, under a named ReplicaRule.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/replica_rule.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// A rule and what it may be parametrised with. All ranks must use the same.
struct ReplicaRouting {
  ReplicaRule rule = ReplicaRule::token_rank_layer;
  std::uint64_t seed = 0;  ///< counter_based, sglang_static, sglang_dynamic
  int num_nodes = 1;       ///< sglang_static: equal blocks of the placement's ranks
  friend bool operator==(ReplicaRouting const&, ReplicaRouting const&) = default;
};

/// Whose choices are routed.
struct ReplicaSource {
  RankId rank{};            ///< the rank's number in the world
  RankId placement_rank{};  ///< its number in the placement: which slots are its own. Equal to `rank` without TP
  int top_k = 1;            ///< of its routing; the number of experts for a dense one
};

/// Routes one rank's choices of one layer.
class ReplicaRouter {
 public:
  /// @throws Error{invalid_placement} for an id outside [-1, num_experts), Error{invalid_argument} for a bad layer,
  ///         rank, number of nodes or top_k.
  ReplicaRouter(ReplicaRouting const& routing, ExpertPlacement const& placement, int layer,
                ReplicaSource const& source);

  /// @return the slots that hold `expert`, ascending; empty when it has none.
  [[nodiscard]] std::span<SlotId const> replicas(ExpertId expert) const { return table_.replicas(expert); }

  /// @param token, k in ascending order over the rank's choices: tensorrt_llm counts the earlier ones. k < 65,536.
  /// @return the slot that serves the choice.
  /// @throws Error{invalid_placement} if the expert has no slot. @note O(1).
  [[nodiscard]] SlotId route(TokenIndex token, int k, ExpertId expert);

 private:
  [[nodiscard]] std::int64_t index_of(TokenIndex token, int k, ExpertId expert, std::int64_t count);
  [[nodiscard]] std::int64_t earlier_in_block(std::int64_t flat, ExpertId expert);

  ReplicaRouting routing_;
  ReplicaTable table_;
  int layer_;
  ReplicaSource source_;
  std::vector<std::int32_t> fixed_{};    // sglang_static: [experts] index among the replicas
  std::vector<std::int64_t> earlier_{};  // tensorrt_llm: [experts] choices in the current block
  std::int64_t block_ = 0;               // tensorrt_llm
};

/// Routes the choices of all ranks and counts. @param routings one per rank of the placement.
/// @return [slots] how many choices each slot serves.
/// @throws Error{shape_mismatch} for another number of routings or of experts, and as ReplicaRouter.
[[nodiscard]] std::vector<std::int64_t> count_slot_choices(ReplicaRouting const& routing,
                                                           ExpertPlacement const& placement, int layer,
                                                           std::span<RoutingMap const> routings);

/// How unevenly replicas were used.
struct ReplicaBias {
  /// Largest, over experts with at least two replicas and one choice, of busiest replica / even share; 1 if none.
  double worst_share = 1;
  double mean_share = 1;  ///< the same, mean over those experts weighted by their choices
  double par = 1;         ///< busiest rank / mean rank
  double even_par = 1;    ///< PAR if every replica carried an even share
  double best_par = 1;    ///< PAR of the best fractional split: no rule is below (fractional_split())
};

/// @param slot_choices [slots] as count_slot_choices() returns.
/// @throws Error{shape_mismatch} for another length.
[[nodiscard]] ReplicaBias measure_replica_bias(std::span<std::int64_t const> slot_choices,
                                               ExpertPlacement const& placement, int layer);

}  // namespace switchyard
