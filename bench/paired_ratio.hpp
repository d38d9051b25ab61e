// SPDX-License-Identifier: Apache-2.0
/// PairedRatio: how fast work is next to a yardstick. Both run in turn, and what counts is the median of the ratios of
/// processor time: whatever else the machine does slows the neighbours in a pair alike.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <vector>

namespace bench {

/// Of all threads of this process.
inline double processor_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

class PairedRatio {
 public:
  /// Runs the yardstick, the work, and the yardstick again. The benchmark's own time is the work's processor time.
  template <typename Yardstick, typename Work>
  void run(benchmark::State& state, Yardstick const& yardstick, Work const& work) {
    double const start = processor_seconds();
    yardstick();
    double const before = processor_seconds();
    work();
    double const after = processor_seconds();
    yardstick();
    yardsticks_.push_back((processor_seconds() - after + before - start) / 2);
    ratios_.push_back(yardsticks_.back() / (after - before));
    state.SetIterationTime(after - before);
  }

  /// @param scale of the ratio: work per yardstick of equal size is 1
  void report(benchmark::State& state, char const* name, double scale) {
    std::sort(ratios_.begin(), ratios_.end());
    state.counters[name] = ratios_[ratios_.size() / 2] * scale;
    state.counters["lowest"] = ratios_.front() * scale;
    state.counters["highest"] = ratios_.back() * scale;
    std::sort(yardsticks_.begin(), yardsticks_.end());
  }
  [[nodiscard]] double yardstick_seconds() const { return yardsticks_[yardsticks_.size() / 2]; }

 private:
  std::vector<double> ratios_;
  std::vector<double> yardsticks_;
};

}  // namespace bench
