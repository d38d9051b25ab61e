// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "switchyard/internal/require.hpp"
#include "switchyard/sim/load_generator.hpp"

namespace switchyard::sim {
namespace {

/// Real-valued shares: items that would pass the cap are set to it, the rest is shared anew until nobody does.
std::vector<double> capped_shares(std::span<double const> weights, double total, double cap) {
  std::vector<double> shares(weights.size(), 0.0);
  std::vector<bool> at_cap(weights.size(), false);
  for (bool changed = true; changed;) {
    changed = false;
    double open_weight = 0;
    double open_total = total;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (at_cap[i]) open_total -= cap;
      if (!at_cap[i]) open_weight += weights[i];
    }
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (at_cap[i]) continue;
      shares[i] = open_weight > 0 ? open_total * (weights[i] / open_weight) : 0.0;
      if (shares[i] <= cap) continue;
      shares[i] = cap;
      at_cap[i] = changed = true;
    }
  }
  return shares;
}

/// Items by descending fraction, ties by index.
std::vector<std::size_t> by_remainder(std::span<double const> shares) {
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return shares[a] - std::floor(shares[a]) > shares[b] - std::floor(shares[b]);
  });
  return order;
}

}  // namespace

std::vector<std::int64_t> apportion(std::span<double const> weights, std::int64_t total, std::int64_t cap) {
  auto const usable = std::count_if(weights.begin(), weights.end(), [](double weight) { return weight > 0; });
  SWITCHYARD_REQUIRE(total >= 0 && cap >= 0 && total <= std::int64_t{1} << 52, invalid_argument,
                     "cannot split {} units with at most {} each: both must be in [0, 2^52]", total, cap);
  SWITCHYARD_REQUIRE(total == 0 || (cap > 0 && usable >= (total - 1) / cap + 1), invalid_argument,
                     "{} items of positive weight with at most {} each cannot hold {}: fewer choices or more experts",
                     usable, cap, total);
  auto const shares = capped_shares(weights, static_cast<double>(total), static_cast<double>(cap));
  std::vector<std::int64_t> parts(weights.size());
  std::int64_t left = total;
  for (std::size_t i = 0; i < parts.size(); ++i) left -= parts[i] = static_cast<std::int64_t>(std::floor(shares[i]));
  auto const order = by_remainder(shares);
  while (left != 0) {  // rounding of the shares may leave the sum a few units off in either direction
    for (std::size_t i : order) {
      if (left > 0 && weights[i] > 0 && parts[i] < cap) ++parts[i], --left;
      if (left < 0 && parts[i] > 0) --parts[i], ++left;
    }
  }
  return parts;
}

}  // namespace switchyard::sim
