// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/routing_generator.hpp"

#include <algorithm>
#include <numeric>

#include "generators/routing_race.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

RoutingMap map_of(RoutingSpec const& spec, std::int64_t tokens, std::vector<std::int32_t> ids,
                  std::vector<float> weights) {
  return RoutingMap::from_topk(tokens, static_cast<int>(spec.expert_weights.size()), spec.top_k, std::move(ids),
                               std::move(weights));
}

RoutingMap route_rank(RoutingSpec const& spec, std::vector<double> const& tilts, int rank) {
  std::int64_t const tokens = spec.tokens_of_rank[static_cast<std::size_t>(rank)];
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  ids.reserve(static_cast<std::size_t>(tokens * spec.top_k));
  weights.reserve(ids.capacity());
  RoutingRace race(spec, tilts, rank);
  for (std::int64_t token = 0; token < tokens; ++token) {
    race.run(token);
    race.take(ids, weights);
  }
  return map_of(spec, tokens, std::move(ids), std::move(weights));
}

/// Experts take turns over the tokens of all ranks.
std::vector<RoutingMap> route_evenly(RoutingSpec const& spec) {
  std::vector<std::int32_t> usable;
  for (std::size_t e = 0; e < spec.expert_weights.size(); ++e)
    if (spec.expert_weights[e] > 0) usable.push_back(static_cast<std::int32_t>(e));
  std::uint64_t turn = stream_of(spec.seed, Purpose::first_turn, 0, 0).below(0, usable.size());
  std::vector<RoutingMap> maps;
  for (std::int64_t const tokens : spec.tokens_of_rank) {
    std::vector<std::int32_t> ids;
    for (std::int64_t choice = 0; choice < tokens * spec.top_k; ++choice) ids.push_back(usable[turn++ % usable.size()]);
    std::vector<float> weights(ids.size(), 1.0F / static_cast<float>(spec.top_k));
    maps.push_back(map_of(spec, tokens, std::move(ids), std::move(weights)));
  }
  return maps;
}

void require_domains(RoutingSpec const& spec) {
  SWITCHYARD_REQUIRE(spec.num_domains >= 1 && spec.num_domains <= 1 << 20, invalid_argument,
                     "num_domains is {}: give an integer in [1, 2^20]", spec.num_domains);
  SWITCHYARD_REQUIRE(spec.domain_sigma >= 0 && spec.domain_sigma <= 5, invalid_argument,
                     "domain_sigma is {}: give a number in [0, 5]", spec.domain_sigma);
}

/// Whatever groups a token chooses, it finds enough experts in them.
void require_groups(RoutingSpec const& spec) {
  int const experts = static_cast<int>(spec.expert_weights.size());
  if (spec.num_groups == 0 && spec.top_groups == 0) return;
  SWITCHYARD_REQUIRE(!spec.even, invalid_argument,
                     "{} of {} groups where experts take turns over the tokens: no token chooses; leave the groups out",
                     spec.top_groups, spec.num_groups);
  bool const divides = spec.num_groups >= 1 && experts % spec.num_groups == 0;
  SWITCHYARD_REQUIRE(divides && spec.top_groups >= 1 && spec.top_groups <= spec.num_groups, invalid_argument,
                     "{} of {} groups of {} experts: groups must divide the experts, and a token choose one at least",
                     spec.top_groups, spec.num_groups, experts);
  std::vector<std::int64_t> usable(static_cast<std::size_t>(spec.num_groups), 0);
  for (std::size_t e = 0; e < spec.expert_weights.size(); ++e)
    usable[e * usable.size() / spec.expert_weights.size()] += spec.expert_weights[e] > 0 ? 1 : 0;
  std::sort(usable.begin(), usable.end());
  auto const least = std::accumulate(usable.begin(), usable.begin() + spec.top_groups, std::int64_t{0});
  SWITCHYARD_REQUIRE(least >= spec.top_k, invalid_argument,
                     "top_k is {}, but some {} of the {} groups have only {} experts that can be chosen: lower top_k "
                     "or choose more groups",
                     spec.top_k, spec.top_groups, spec.num_groups, least);
}

}  // namespace

void require_valid(RoutingSpec const& spec) {
  SWITCHYARD_REQUIRE(!spec.tokens_of_rank.empty() && spec.tokens_of_rank.size() < (std::size_t{1} << 28),
                     invalid_argument, "routing for {} ranks: give at least one rank", spec.tokens_of_rank.size());
  for (std::size_t rank = 0; rank < spec.tokens_of_rank.size(); ++rank) {
    std::int64_t const tokens = spec.tokens_of_rank[rank];
    SWITCHYARD_REQUIRE(tokens >= 0 && tokens <= std::int64_t{1} << 32, invalid_argument,
                       "rank {} has {} tokens: give an integer in [0, 2^32]", rank, tokens);
  }
  int usable = 0;
  for (std::size_t e = 0; e < spec.expert_weights.size(); ++e) {
    double const weight = spec.expert_weights[e];
    SWITCHYARD_REQUIRE(weight >= 0 && weight <= kAlwaysChosen, invalid_argument,
                       "expert {} has popularity {}: give a number in [0, {}]", e, weight, kAlwaysChosen);
    usable += weight > 0 ? 1 : 0;
  }
  SWITCHYARD_REQUIRE(spec.top_k >= 1 && spec.top_k <= usable, invalid_argument,
                     "top_k is {}, but only {} experts can be chosen: give an integer in [1, {}]", spec.top_k, usable,
                     usable);
  SWITCHYARD_REQUIRE(spec.stickiness >= 0 && spec.stickiness < 1, invalid_argument,
                     "stickiness is {}: give a number in [0, 1)", spec.stickiness);
  SWITCHYARD_REQUIRE(spec.request_tokens >= 1, invalid_argument, "request_tokens is {}: give at least 1",
                     spec.request_tokens);
  require_domains(spec);
  require_groups(spec);
}

std::vector<RoutingMap> generate_routing(RoutingSpec const& spec) {
  require_valid(spec);
  if (spec.even) return route_evenly(spec);
  auto const tilts = domain_tilts(spec);
  std::vector<RoutingMap> maps;
  maps.reserve(spec.tokens_of_rank.size());
  for (std::size_t rank = 0; rank < spec.tokens_of_rank.size(); ++rank) {
    maps.push_back(route_rank(spec, tilts, static_cast<int>(rank)));
  }
  return maps;
}

}  // namespace switchyard::sim
