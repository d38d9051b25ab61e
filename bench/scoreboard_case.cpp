// SPDX-License-Identifier: Apache-2.0
#include "scoreboard_case.hpp"

#include <cmath>
#include <utility>
#include <vector>

#include "switchyard/hd/elementary.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace scoreboard {

namespace {

using switchyard::CounterRng;
using switchyard::ExpertLoad;

double normal(CounterRng const& rng, std::uint64_t index) {
  double const uniform = (static_cast<double>(rng.bits(index) >> 11) + 0.5) * 0x1p-53;
  return switchyard::hd::normal_quantile(uniform);
}

}  // namespace

LoadPair draw_loads(Instance const& instance, std::uint64_t seed) {
  constexpr double kMedian = 1e5;
  CounterRng const popularity(seed, 1);
  CounterRng const walk(seed, 2);
  std::vector<double> before;
  std::vector<double> after;
  auto const values = static_cast<std::uint64_t>(instance.layers) * static_cast<std::uint64_t>(instance.experts);
  for (std::uint64_t i = 0; i < values; ++i) {
    double const load = kMedian * switchyard::hd::exp(instance.sigma * normal(popularity, i));
    before.push_back(std::floor(load));
    after.push_back(std::floor(load * switchyard::hd::exp(instance.drift * normal(walk, i))));
  }
  return {ExpertLoad(1, instance.layers, instance.experts, std::move(before)),
          ExpertLoad(1, instance.layers, instance.experts, std::move(after))};
}

}  // namespace scoreboard
