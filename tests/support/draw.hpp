// SPDX-License-Identifier: Apache-2.0
/// Draw: one number after the other of a seeded stream, for random clusters, flows and graphs.
#pragma once

#include <cstdint>

#include "switchyard/types/counter_rng.hpp"

namespace support {

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : rng_(seed, 0) {}
  int below(int n) { return static_cast<int>(rng_.below(next_++, static_cast<std::uint64_t>(n))); }
  double real(double low, double high) { return low + (high - low) * below(1 << 20) / (1 << 20); }

 private:
  switchyard::CounterRng rng_;
  std::uint64_t next_ = 0;
};

}  // namespace support
