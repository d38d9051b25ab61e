// SPDX-License-Identifier: Apache-2.0
#include "costs/own_copies.hpp"

#include <algorithm>
#include <vector>

#include "costs/upper_median.hpp"

namespace switchyard::sim {
namespace {

struct Difference {
  double bytes = 0;  ///< copied
  double us = 0;
};

std::vector<Difference> differences(MeasuredCurve const& whole, MeasuredCurve const& peers) {
  auto const with = medians_by_size(split_outliers(whole.samples).kept);
  auto const without = medians_by_size(split_outliers(peers.samples).kept);
  std::vector<Difference> all;
  for (Measurement const& one : with)
    for (Measurement const& other : without)
      if (one.size == other.size && one.size > 0) all.push_back({one.size / whole.key.ranks, one.us - other.us});
  return all;
}

}  // namespace

double OwnCopies::sends_wait_us(double bytes) const noexcept {
  return bytes > 0 ? std::max(launch_us, us_per_byte * bytes) : 0;
}

double OwnCopies::alone_us(double bytes) const {
  return bytes > 0 && !alone.knots.empty() ? cost_us(alone, bytes) : 0;
}

OwnCopies fit_own_copies(MeasuredCurve const& whole, MeasuredCurve const& peers, MeasuredCurve const* own) {
  auto const all = differences(whole, peers);
  auto const half = all.size() / 2;
  std::vector<double> launches, rates;
  for (std::size_t i = half; i < all.size(); ++i) rates.push_back(all[i].us / all[i].bytes);
  OwnCopies copies;
  copies.us_per_byte = upper_median_or_zero(std::move(rates));
  for (std::size_t i = 0; i < half; ++i) launches.push_back(all[i].us - copies.us_per_byte * all[i].bytes);
  copies.launch_us = upper_median_or_zero(std::move(launches));
  if (own == nullptr) return copies;
  copies.alone = fit_curve(own->samples).curve;
  for (Measurement& knot : copies.alone.knots) knot.size /= own->key.ranks;
  return copies;
}

}  // namespace switchyard::sim
