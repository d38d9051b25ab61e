// SPDX-License-Identifier: Apache-2.0
/// balance_bounds: what a layer's placement achieves beside the least that is possible.
#include <algorithm>
#include <numeric>

#include "even_split.hpp"
#include "layer_view.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/bounds.hpp"

namespace switchyard {

namespace {

/// One layer's slots on ranks that serve.
struct Census {
  std::vector<std::int64_t> replicas;  // [experts]
  placement::SlotSupply supply;
  bool is_full = true;         // no empty slot
  bool has_duplicate = false;  // an expert twice on one rank
};

Census take_census(ExpertPlacement const& placement, int layer, std::span<double const> speeds) {
  Census census{std::vector<std::int64_t>(to_size(placement.num_experts()), 0), {}, true, false};
  census.supply.fewest_slots_of_rank = placement.num_slots();
  auto const ranks = placement::holders(placement, layer, speeds);
  std::int64_t held = 0;
  for (std::size_t rank = 0; rank < speeds.size(); ++rank) {
    auto const slots = placement.rank_slots(layer, RankId(static_cast<std::int32_t>(rank)));
    if (speeds[rank] <= 0 || slots.empty()) {
      continue;
    }
    census.supply.slots += std::ssize(slots);
    census.supply.fewest_slots_of_rank = std::min<std::int64_t>(census.supply.fewest_slots_of_rank, std::ssize(slots));
    for (ExpertId const expert : slots) {
      census.is_full = census.is_full && expert.valid();
      if (expert.valid()) {
        ++census.replicas[expert.index()];
        ++held;
      }
    }
  }
  std::int64_t pairs = 0;
  for (auto const& of_expert : ranks) {
    pairs += std::ssize(of_expert);
  }
  census.has_duplicate = pairs != held;
  census.supply.max_replicas = census.supply.slots;
  return census;
}

double largest_rank_load(std::span<double const> load, ExpertPlacement const& placement, int layer,
                         std::span<double const> speeds, Census const& census) {
  double largest = 0;
  for (std::size_t rank = 0; rank < speeds.size(); ++rank) {
    if (speeds[rank] <= 0) {
      continue;
    }
    double sum = 0;
    for (ExpertId const expert : placement.rank_slots(layer, RankId(static_cast<std::int32_t>(rank)))) {
      if (expert.valid()) {
        sum += load[expert.index()] / static_cast<double>(census.replicas[expert.index()]);
      }
    }
    largest = std::max(largest, sum / speeds[rank]);
  }
  return largest;
}

void require_served(std::span<double const> load, Census const& census, int layer) {
  SWITCHYARD_REQUIRE(load.size() == census.replicas.size(), shape_mismatch,
                     "{} loads for {} experts: they must be equal", load.size(), census.replicas.size());
  for (std::size_t expert = 0; expert < load.size(); ++expert) {
    SWITCHYARD_REQUIRE(load[expert] == 0 || census.replicas[expert] > 0, invalid_placement,
                       "expert {} of layer {} has load {} but no slot on a rank that serves: its tokens would be lost",
                       expert, layer, load[expert]);
  }
}

}  // namespace

std::vector<double> serving_speeds(PolicyRequest const& request) {
  auto speeds = speeds_of(request);
  for (RankId const rank : request.dead_ranks) {
    speeds.at(rank.index()) = 0;
  }
  return speeds;
}

BalanceBounds balance_bounds(std::span<double const> load, ExpertPlacement const& placement, int layer,
                             std::span<double const> speeds, bool with_fractional) {
  auto const checked = placement::checked_speeds(speeds, placement.num_ranks());
  Census const census = take_census(placement, layer, checked);
  require_served(load, census, layer);
  double const fastest = *std::max_element(checked.begin(), checked.end());
  double const all_speed = std::accumulate(checked.begin(), checked.end(), 0.0);
  BalanceBounds bounds;
  bounds.achieved = largest_rank_load(load, placement, layer, checked, census);
  // Sums in another order than the ranks' may round above a perfect balance: a bound never exceeds what is achieved.
  auto const at_most_achieved = [&](double bound) { return std::min(bound, bounds.achieved); };
  bounds.mean = at_most_achieved(std::accumulate(load.begin(), load.end(), 0.0) / all_speed);
  bounds.largest_replica = at_most_achieved(placement::min_max_replica_load(load, census.supply) / fastest);
  if (census.is_full && !census.has_duplicate) {
    placement::SlotSupply distinct = census.supply;
    distinct.max_replicas = std::count_if(checked.begin(), checked.end(), [](double speed) { return speed > 0; });
    double const in_company = placement::min_largest_replica_rank(load, distinct, bounds.mean * fastest);
    bounds.largest_replica_in_company = at_most_achieved(in_company / fastest);
  }
  bounds.even_split = std::max({bounds.mean, bounds.largest_replica, bounds.largest_replica_in_company});
  if (with_fractional) {
    bounds.fractional_split = at_most_achieved(fractional_split(load, placement, layer, checked).max_load);
  }
  return bounds;
}

}  // namespace switchyard
