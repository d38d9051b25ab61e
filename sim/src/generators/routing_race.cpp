// SPDX-License-Identifier: Apache-2.0
#include "generators/routing_race.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace switchyard::sim {
namespace {

/// Below this share of the best score a weight stops falling, so that it stays positive in fp32.
constexpr double kLeastScoreRatio = 0x1p-20;
constexpr double kOut = -1;  // of an expert whose group was not chosen

/// The `count` largest of `scores` first, ties to the lower number.
void best_first(std::vector<std::size_t>& order, std::vector<double> const& scores, int count) {
  order.resize(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](std::size_t a, std::size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
}

}  // namespace

RoutingRace::RoutingRace(RoutingSpec const& spec, std::vector<double> const& tilts, int rank)
    : spec_(spec),
      tilts_(tilts),
      rng_(stream_of(spec.seed, Purpose::race, 0, rank)),
      domain_rng_(stream_of(spec.seed, Purpose::domain_of_request, 0, rank)),
      waits_(spec.expert_weights.size()),
      scores_(spec.expert_weights.size()),
      group_scores_(static_cast<std::size_t>(spec.num_groups)) {}

void RoutingRace::draw_waits(std::int64_t token) {
  bool const fresh = token % spec_.request_tokens == 0;
  for (std::size_t e = 0; e < waits_.size(); ++e) {
    std::uint64_t const bits = rng_.bits(static_cast<std::uint64_t>(token) * waits_.size() + e);
    bool const keep = !fresh && static_cast<double>(bits & 0xfff) < spec_.stickiness * 0x1p12;
    if (!keep) waits_[e] = -hd::log(open_unit(bits));
  }
}

void RoutingRace::fill_scores(std::int64_t token) {
  for (std::size_t e = 0; e < scores_.size(); ++e) scores_[e] = spec_.expert_weights[e] / waits_[e];
  if (tilts_.empty()) return;
  auto const request = static_cast<std::uint64_t>(token / spec_.request_tokens);
  auto const domain =
      static_cast<std::size_t>(domain_rng_.below(request, static_cast<std::uint64_t>(spec_.num_domains)));
  for (std::size_t e = 0; e < scores_.size(); ++e) scores_[e] *= tilts_[domain * scores_.size() + e];
}

double RoutingRace::group_score(std::size_t group, std::size_t size) const {
  double best = 0, second = 0;
  for (std::size_t e = group * size; e < (group + 1) * size; ++e) {
    second = std::max(second, std::min(best, scores_[e]));
    best = std::max(best, scores_[e]);
  }
  return best + second;
}

void RoutingRace::keep_best_groups() {
  std::size_t const size = scores_.size() / group_scores_.size();
  for (std::size_t group = 0; group < group_scores_.size(); ++group) group_scores_[group] = group_score(group, size);
  best_first(groups_, group_scores_, spec_.top_groups);
  for (std::size_t i = static_cast<std::size_t>(spec_.top_groups); i < groups_.size(); ++i)
    for (std::size_t e = groups_[i] * size; e < (groups_[i] + 1) * size; ++e) scores_[e] = kOut;
}

void RoutingRace::run(std::int64_t token) {
  draw_waits(token);
  fill_scores(token);
  if (spec_.num_groups > 0) keep_best_groups();
  best_first(order_, scores_, spec_.top_k);
}

void RoutingRace::take(std::vector<std::int32_t>& ids, std::vector<float>& weights) const {
  std::size_t const first = weights.size();
  float sum = 0;
  for (std::size_t k = 0; k < static_cast<std::size_t>(spec_.top_k); ++k) {
    ids.push_back(static_cast<std::int32_t>(order_[k]));
    double const ratio = scores_[order_[k]] / scores_[order_[0]];
    weights.push_back(static_cast<float>(std::sqrt(std::max(ratio, kLeastScoreRatio))));
    sum += weights.back();
  }
  for (std::size_t i = first; i < weights.size(); ++i) weights[i] /= sum;
}

std::vector<double> domain_tilts(RoutingSpec const& spec) {
  if (spec.num_domains == 1 || spec.domain_sigma == 0) return {};
  std::vector<double> tilts;
  for (int domain = 0; domain < spec.num_domains; ++domain) {
    CounterRng const rng = stream_of(spec.seed, Purpose::routing_tilt, domain, 0);
    for (std::size_t e = 0; e < spec.expert_weights.size(); ++e)
      tilts.push_back(hd::exp(spec.domain_sigma * normal_at(rng, e)));
  }
  return tilts;
}

}  // namespace switchyard::sim
