// SPDX-License-Identifier: Apache-2.0
/// Max-min fair fluid flows in plain loops: raise all rates together until something is full, freeze, go on.
///
/// Written from the definition; shares no code with sim/. Works on explicit lists of shared limits.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

namespace switchyard::oracle {

struct FluidFlow {
  double bytes;
  double limit;                    ///< of the flow alone, bytes per us
  std::vector<std::size_t> links;  ///< it crosses
};

inline std::vector<double> max_min_rates(std::vector<FluidFlow> const& flows, std::vector<bool> const& alive,
                                         std::vector<double> const& capacity) {
  std::vector<double> rate(flows.size(), 0.0);
  std::vector<bool> rising = alive;
  for (;;) {
    bool any = false;
    double step = std::numeric_limits<double>::infinity();
    for (std::size_t f = 0; f < flows.size(); ++f) {
      if (!rising[f]) continue;
      any = true;
      step = std::min(step, flows[f].limit - rate[f]);
    }
    if (!any) return rate;
    std::vector<double> used(capacity.size(), 0.0);
    std::vector<int> risers(capacity.size(), 0);
    for (std::size_t f = 0; f < flows.size(); ++f) {
      if (!alive[f]) continue;
      for (auto const link : flows[f].links) {
        used[link] += rate[f];
        if (rising[f]) ++risers[link];
      }
    }
    for (std::size_t link = 0; link < capacity.size(); ++link)
      if (risers[link] > 0) step = std::min(step, (capacity[link] - used[link]) / risers[link]);
    std::vector<bool> next = rising;
    for (std::size_t f = 0; f < flows.size(); ++f) {
      if (!rising[f]) continue;
      rate[f] += step;
      if (rate[f] >= flows[f].limit * (1 - 1e-12)) next[f] = false;
      for (auto const link : flows[f].links)
        if (capacity[link] - used[link] - step * risers[link] <= 1e-9 * capacity[link]) next[f] = false;
    }
    rising = next;
  }
}

/// @return when the last byte of every flow has left, all starting at 0.
inline std::vector<double> fluid_ends(std::vector<FluidFlow> const& flows, std::vector<double> const& capacity) {
  std::vector<double> left, ends(flows.size(), 0.0);
  std::vector<bool> alive;
  for (auto const& flow : flows) {
    left.push_back(flow.bytes);
    alive.push_back(flow.bytes > 0);
  }
  for (double now = 0;;) {
    auto const rate = max_min_rates(flows, alive, capacity);
    double step = std::numeric_limits<double>::infinity();
    for (std::size_t f = 0; f < flows.size(); ++f)
      if (alive[f]) step = std::min(step, left[f] / rate[f]);
    if (step == std::numeric_limits<double>::infinity()) return ends;
    now += step;
    for (std::size_t f = 0; f < flows.size(); ++f) {
      if (!alive[f]) continue;
      left[f] -= rate[f] * step;
      if (left[f] > 1e-9 * flows[f].bytes) continue;
      alive[f] = false;
      ends[f] = now;
    }
  }
}

}  // namespace switchyard::oracle
