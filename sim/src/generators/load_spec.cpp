// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/load_spec.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr std::int64_t kMaxValues = std::int64_t{1} << 28;  // 2 GiB of loads
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;

void require_in(char const* field, double value, double min, double max) {
  SWITCHYARD_REQUIRE(std::isfinite(value) && value >= min && value <= max, invalid_argument,
                     "{} is {}: give a number in [{}, {}]", field, value, min, max);
}

void require_sizes(LoadSpec const& spec) {
  SWITCHYARD_REQUIRE(spec.num_steps >= 1 && spec.num_layers >= 1 && spec.num_experts >= 1, invalid_argument,
                     "load of {} steps x {} layers x {} experts: each must be at least 1", spec.num_steps,
                     spec.num_layers, spec.num_experts);
  bool const fits = spec.num_layers <= kMaxValues / spec.num_experts &&
                    spec.num_steps <= kMaxValues / (std::int64_t{spec.num_layers} * spec.num_experts);
  SWITCHYARD_REQUIRE(fits, invalid_argument,
                     "load of {} steps x {} layers x {} experts exceeds {} values: ask for less", spec.num_steps,
                     spec.num_layers, spec.num_experts, kMaxValues);
  SWITCHYARD_REQUIRE(spec.top_k >= 1 && spec.top_k <= std::min(spec.num_experts, 4096), invalid_argument,
                     "top_k is {}: give an integer in [1, {}], at most the number of experts", spec.top_k,
                     std::min(spec.num_experts, 4096));
  SWITCHYARD_REQUIRE(spec.tokens_per_step >= 0 && spec.tokens_per_step <= kMaxTokens, invalid_argument,
                     "tokens_per_step is {}: give an integer in [0, {}]", spec.tokens_per_step, kMaxTokens);
}

}  // namespace

void require_valid(LoadSpec const& spec) {
  require_sizes(spec);
  SWITCHYARD_REQUIRE(!spec.sigma.empty(), invalid_argument, "the sigma profile is empty: give one knot at least");
  double previous = 0;
  for (SigmaKnot const& knot : spec.sigma) {
    require_in("the depth of a sigma knot (ascending)", knot.depth, previous, 1);
    require_in("log-normal sigma (measured loads lie in 0.2 to 1.4)", knot.sigma, 0, 5);
    previous = knot.depth;
  }
  require_in("zipf_s", spec.zipf_s, 0, 5);
  require_in("drift_sigma", spec.drift_sigma, 0, 5);
  require_in("drift_reversion", spec.drift_reversion, 0, 1);
  require_in("domain_sigma", spec.domain_sigma, 0, 5);
  require_in("num_domains", spec.num_domains, 1, 1 << 20);
}

double sigma_of_layer(LoadSpec const& spec, int layer) {
  double const depth = spec.num_layers > 1 ? static_cast<double>(layer) / (spec.num_layers - 1) : 0.0;
  auto const after =
      std::find_if(spec.sigma.begin(), spec.sigma.end(), [&](auto& knot) { return knot.depth >= depth; });
  if (after == spec.sigma.end()) return spec.sigma.back().sigma;
  if (after == spec.sigma.begin() || after->depth == depth) return after->sigma;
  auto const before = after - 1;
  double const share = (depth - before->depth) / (after->depth - before->depth);
  return before->sigma + share * (after->sigma - before->sigma);
}

}  // namespace switchyard::sim
