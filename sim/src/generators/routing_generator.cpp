// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/routing_generator.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "draw.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

/// Below this share of the best score a weight stops falling, so that it stays positive in fp32.
constexpr double kLeastScoreRatio = 0x1p-20;

/// One token's race: finish times of all experts, kept from the previous token where the draw sticks.
class Race {
 public:
  Race(RoutingSpec const& spec, int rank)
      : spec_(spec),
        rng_(stream_of(spec.seed, Purpose::race, 0, rank)),
        waits_(spec.expert_weights.size()),
        order_(spec.expert_weights.size()) {}

  void run(std::int64_t token) {
    bool const fresh = token % spec_.request_tokens == 0;
    for (std::size_t e = 0; e < waits_.size(); ++e) {
      std::uint64_t const bits = rng_.bits(static_cast<std::uint64_t>(token) * waits_.size() + e);
      bool const keep = !fresh && static_cast<double>(bits & 0xfff) < spec_.stickiness * 0x1p12;
      if (!keep) waits_[e] = -hd::log(open_unit(bits));
    }
    auto const last = order_.begin() + spec_.top_k;
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::partial_sort(order_.begin(), last, order_.end(), [this](std::size_t a, std::size_t b) {
      double const score_a = score(a);
      double const score_b = score(b);
      return score_a != score_b ? score_a > score_b : a < b;
    });
  }

  /// Appends the winners and their weights.
  void take(std::vector<std::int32_t>& ids, std::vector<float>& weights) const {
    std::size_t const first = weights.size();
    float sum = 0;
    for (std::size_t k = 0; k < static_cast<std::size_t>(spec_.top_k); ++k) {
      ids.push_back(static_cast<std::int32_t>(order_[k]));
      double const ratio = score(order_[k]) / score(order_[0]);
      weights.push_back(static_cast<float>(std::sqrt(std::max(ratio, kLeastScoreRatio))));
      sum += weights.back();
    }
    for (std::size_t i = first; i < weights.size(); ++i) weights[i] /= sum;
  }

 private:
  [[nodiscard]] double score(std::size_t expert) const { return spec_.expert_weights[expert] / waits_[expert]; }

  RoutingSpec const& spec_;
  CounterRng rng_;
  std::vector<double> waits_;
  std::vector<std::size_t> order_;
};

RoutingMap route_rank(RoutingSpec const& spec, int rank) {
  std::int64_t const tokens = spec.tokens_of_rank[static_cast<std::size_t>(rank)];
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  ids.reserve(static_cast<std::size_t>(tokens * spec.top_k));
  weights.reserve(ids.capacity());
  Race race(spec, rank);
  for (std::int64_t token = 0; token < tokens; ++token) {
    race.run(token);
    race.take(ids, weights);
  }
  return RoutingMap::from_topk(tokens, static_cast<int>(spec.expert_weights.size()), spec.top_k, std::move(ids),
                               std::move(weights));
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
}

std::vector<RoutingMap> generate_routing(RoutingSpec const& spec) {
  require_valid(spec);
  std::vector<RoutingMap> maps;
  maps.reserve(spec.tokens_of_rank.size());
  for (std::size_t rank = 0; rank < spec.tokens_of_rank.size(); ++rank) {
    maps.push_back(route_rank(spec, static_cast<int>(rank)));
  }
  return maps;
}

}  // namespace switchyard::sim
