// SPDX-License-Identifier: Apache-2.0
/// ExpertParallelGrid: how expert-parallel and tensor-parallel ranks are numbered inside one dispatch group.
#pragma once

#include "switchyard/types/ids.hpp"

namespace switchyard {

/// A tp x ep group; tp is the fastest axis: rank = ep_rank * tp + tp_rank. Every TP rank of one EP rank holds a shard
/// of the same experts. Source: Megatron-Core parallel_state (order tp, ep).
struct ExpertParallelGrid {
  int tp = 1;
  int ep = 1;

  [[nodiscard]] constexpr int world() const noexcept { return tp * ep; }
  [[nodiscard]] constexpr RankId rank_of(int ep_rank, int tp_rank) const noexcept {
    return RankId{ep_rank * tp + tp_rank};
  }
  [[nodiscard]] constexpr int ep_rank_of(RankId rank) const noexcept { return rank.value() / tp; }
  [[nodiscard]] constexpr int tp_rank_of(RankId rank) const noexcept { return rank.value() % tp; }
  /// Ranks that exchange tokens over EP: the same tp rank.
  [[nodiscard]] constexpr bool same_lane(RankId a, RankId b) const noexcept { return tp_rank_of(a) == tp_rank_of(b); }
  /// Ranks that hold shards of the same experts: the same ep rank.
  [[nodiscard]] constexpr bool same_experts(RankId a, RankId b) const noexcept {
    return ep_rank_of(a) == ep_rank_of(b);
  }
  /// Every rank an EP rank of its own, as MindSpeed's tp_extend_ep has it: an AlltoAll over this grid needs no TP
  /// gather, and its two row orders are one.
  [[nodiscard]] constexpr ExpertParallelGrid extended_over_tp() const noexcept { return {1, world()}; }
  friend constexpr bool operator==(ExpertParallelGrid const&, ExpertParallelGrid const&) = default;
};

}  // namespace switchyard
