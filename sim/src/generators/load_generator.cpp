// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/load_generator.hpp"

#include <algorithm>
#include <numeric>

#include "generators/draw.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

// A token's experts are found on an integer scale, so that a draw has no rounding: probability 1 is 2^40 units.
constexpr std::int64_t kUnitsPerToken = std::int64_t{1} << 40;

/// The random walk of one layer's experts, [experts]; all zero at step 0.
class Drift {
 public:
  explicit Drift(LoadSpec const& spec) : value_(static_cast<std::size_t>(spec.num_experts), 0.0) {}

  void advance(LoadSpec const& spec, int step, int layer) {
    if (spec.drift_sigma == 0) return;
    CounterRng const rng = stream_of(spec.seed, Purpose::drift, step, layer);
    for (std::size_t e = 0; e < value_.size(); ++e) {
      value_[e] = (1 - spec.drift_reversion) * value_[e] + spec.drift_sigma * normal_at(rng, e);
    }
  }
  [[nodiscard]] double at(std::size_t expert) const { return value_[expert]; }

 private:
  std::vector<double> value_;
};

int domain_of_step(LoadSpec const& spec, int step) {
  CounterRng const rng = stream_of(spec.seed, Purpose::domain_of_step, 0, 0);
  auto const domains = static_cast<std::uint64_t>(spec.num_domains);
  return static_cast<int>(rng.below(static_cast<std::uint64_t>(step), domains));
}

/// Experts in a random order of the layer: the ones a rank-based law calls first, second, ...
std::vector<std::size_t> random_order(LoadSpec const& spec, int layer) {
  CounterRng const rng = stream_of(spec.seed, Purpose::expert_order, 0, layer);
  std::vector<std::size_t> order(static_cast<std::size_t>(spec.num_experts));
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rng.bits(a) < rng.bits(b); });
  return order;
}

double power(double base, double exponent) {
  return hd::exp(exponent * hd::log(base));
}

/// The law alone, before domains and drift.
std::vector<double> base_popularity(LoadSpec const& spec, int layer) {
  std::vector<double> weights(static_cast<std::size_t>(spec.num_experts), 1.0);
  if (spec.law == PopularityLaw::log_normal) {
    // Stratified normals: the experts of a layer are the quantiles of the law in a random order, so that a layer's skew
    // is its sigma and not the luck of one draw in the tail.
    double const sigma = sigma_of_layer(spec, layer);
    auto const order = random_order(spec, layer);
    for (std::size_t i = 0; i < order.size(); ++i) {
      double const probability = (static_cast<double>(i) + 0.5) / static_cast<double>(order.size());
      weights[order[i]] = hd::exp(sigma * hd::normal_quantile(probability));
    }
  }
  if (spec.law == PopularityLaw::zipf) {
    auto const order = random_order(spec, layer);
    for (std::size_t i = 0; i < order.size(); ++i) weights[order[i]] = power(static_cast<double>(i + 1), -spec.zipf_s);
  }
  // So much heavier than all others together that the cap gives it every token.
  if (spec.law == PopularityLaw::one_hot) weights[random_order(spec, layer).front()] = 0x1p40;
  return weights;
}

std::vector<double> tilted_popularity(LoadSpec const& spec, int step, int layer, Drift const& drift) {
  std::vector<double> weights = base_popularity(spec, layer);
  bool const domains = spec.num_domains > 1 && spec.domain_sigma > 0;
  if (!domains && spec.drift_sigma == 0) return weights;
  int const domain = domains ? domain_of_step(spec, step) : 0;
  CounterRng const rng = stream_of(spec.seed, Purpose::domain_tilt, domain, layer);
  for (std::size_t e = 0; e < weights.size(); ++e) {
    double const tilt = domains ? spec.domain_sigma * normal_at(rng, e) : 0.0;
    weights[e] *= hd::exp(tilt + drift.at(e));
  }
  return weights;
}

/// Counts of one (step, layer) where every token draws: the points u, u+1, ..., u+k-1 on a line that gives every expert
/// a piece as long as its probability hit k different experts, because no piece is longer than 1.
std::vector<std::int64_t> sampled_counts(LoadSpec const& spec, int step, int layer, std::span<double const> weights) {
  std::vector<std::int64_t> ends = apportion(weights, spec.top_k * kUnitsPerToken, kUnitsPerToken);
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<std::int64_t> counts(weights.size(), 0);
  CounterRng const rng = stream_of(spec.seed, Purpose::token, step, layer);
  for (std::int64_t token = 0; token < spec.tokens_per_step; ++token) {
    auto const draw = rng.below(static_cast<std::uint64_t>(token), static_cast<std::uint64_t>(kUnitsPerToken));
    for (int k = 0; k < spec.top_k; ++k) {
      std::int64_t const point = static_cast<std::int64_t>(draw) + k * kUnitsPerToken;
      ++counts[static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), point) - ends.begin())];
    }
  }
  return counts;
}

std::vector<std::int64_t> counts_of(LoadSpec const& spec, int step, int layer, std::span<double const> weights) {
  if (spec.sampling == LoadSampling::sampled) return sampled_counts(spec, step, layer, weights);
  return apportion(weights, spec.tokens_per_step * spec.top_k, spec.tokens_per_step);
}

}  // namespace

std::vector<double> expert_popularity(LoadSpec const& spec, int step, int layer) {
  require_valid(spec);
  SWITCHYARD_REQUIRE(step >= 0 && step < spec.num_steps && layer >= 0 && layer < spec.num_layers, invalid_argument,
                     "step {}, layer {} lie outside the spec's {} steps x {} layers", step, layer, spec.num_steps,
                     spec.num_layers);
  Drift drift(spec);
  for (int s = 1; s <= step; ++s) drift.advance(spec, s, layer);
  return tilted_popularity(spec, step, layer, drift);
}

ExpertLoad generate_load(LoadSpec const& spec) {
  require_valid(spec);
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(spec.num_steps) * static_cast<std::size_t>(spec.num_layers) *
                 static_cast<std::size_t>(spec.num_experts));
  std::vector<Drift> drifts(static_cast<std::size_t>(spec.num_layers), Drift(spec));
  for (int step = 0; step < spec.num_steps; ++step) {
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      Drift& drift = drifts[static_cast<std::size_t>(layer)];
      if (step > 0) drift.advance(spec, step, layer);
      auto const counts = counts_of(spec, step, layer, tilted_popularity(spec, step, layer, drift));
      values.insert(values.end(), counts.begin(), counts.end());
    }
  }
  return ExpertLoad(spec.num_steps, spec.num_layers, spec.num_experts, std::move(values));
}

}  // namespace switchyard::sim
