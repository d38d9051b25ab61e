// SPDX-License-Identifier: Apache-2.0
#include "layer_view.hpp"

#include <algorithm>
#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::placement {

std::vector<double> checked_speeds(std::span<double const> speeds, int num_ranks) {
  if (speeds.empty()) {
    return std::vector<double>(to_size(num_ranks), 1.0);
  }
  SWITCHYARD_REQUIRE(speeds.size() == to_size(num_ranks), shape_mismatch,
                     "{} speeds for {} ranks: give one per rank, or none", speeds.size(), num_ranks);
  for (std::size_t rank = 0; rank < speeds.size(); ++rank) {
    SWITCHYARD_REQUIRE(std::isfinite(speeds[rank]) && speeds[rank] >= 0, invalid_argument,
                       "speed {} of rank {}: a speed is finite and not negative; 0 is a rank that serves nothing",
                       speeds[rank], rank);
  }
  SWITCHYARD_REQUIRE(std::any_of(speeds.begin(), speeds.end(), [](double speed) { return speed > 0; }),
                     invalid_argument, "all {} ranks have speed 0: at least one must serve", num_ranks);
  return {speeds.begin(), speeds.end()};
}

void require_same_model(ExpertPlacement const& a, ExpertPlacement const& b) {
  SWITCHYARD_REQUIRE(
      a.num_layers() == b.num_layers() && a.num_experts() == b.num_experts() && a.num_ranks() == b.num_ranks(),
      shape_mismatch, "placements of {} layers x {} experts x {} ranks and {} x {} x {}: they must be equal",
      a.num_layers(), a.num_experts(), a.num_ranks(), b.num_layers(), b.num_experts(), b.num_ranks());
}

std::vector<std::vector<std::size_t>> holders(ExpertPlacement const& placement, int layer,
                                              std::span<double const> speeds) {
  std::vector<std::vector<std::size_t>> ranks(to_size(placement.num_experts()));
  for (std::size_t rank = 0; rank < speeds.size(); ++rank) {
    for (ExpertId const expert : placement.rank_slots(layer, RankId(static_cast<std::int32_t>(rank)))) {
      SWITCHYARD_REQUIRE(expert.value() >= kNoExpert.value() && expert.value() < placement.num_experts(),
                         invalid_placement, "rank {} of layer {} holds expert {}, the model has {}: correct the map",
                         rank, layer, expert.value(), placement.num_experts());
      if (expert.valid() && speeds[rank] > 0 &&
          (ranks[expert.index()].empty() || ranks[expert.index()].back() != rank)) {
        ranks[expert.index()].push_back(rank);
      }
    }
  }
  return ranks;
}

}  // namespace switchyard::placement
