// SPDX-License-Identifier: Apache-2.0
/// LayerNeeds: which ranks lack which experts in one layer, who holds them, and what that says about the rounds.
#pragma once

#include <vector>

#include "../holder_table.hpp"
#include "even_assignment.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "tiers.hpp"

namespace switchyard::rebalance {

struct LayerNeeds {
  LayerNeeds(ExpertPlacement const& before, ExpertPlacement const& after, int layer);

  [[nodiscard]] std::span<Holder const> holders(ExpertId expert) const { return held.of(expert.index()); }

  HolderTable held;                            ///< before the move
  std::vector<std::vector<ExpertId>> of_rank;  ///< [ranks] what it will hold and does not, ascending
  std::vector<std::vector<RankId>> of_expert;  ///< [experts] the ranks that lack it, ascending
  std::vector<ExpertId> wanted{};              ///< experts that somebody lacks, ascending
  std::int64_t total = 0;                      ///< pairs of rank and expert
};

/// The experts of `wanted`, each given to one of its holders, as evenly as possible.
[[nodiscard]] EvenAssignment assign_guardians(LayerNeeds const& needs, int num_ranks);

/// The best of the lower bounds of BoundKind. @param guardians what assign_guardians() returned.
[[nodiscard]] RoundBound find_bound(LayerNeeds const& needs, Tiers const& tiers, EvenAssignment const& guardians);

}  // namespace switchyard::rebalance
