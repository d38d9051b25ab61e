// SPDX-License-Identifier: Apache-2.0
/// The scoreboard's instances: seeded log-normal loads before and after a drift.
#pragma once

#include <cstdint>

#include "switchyard/placement/expert_load.hpp"

namespace scoreboard {

struct Instance {
  int ranks = 32;
  int slots = 288;
  int experts = 256;
  int layers = 1;
  double sigma = 0.7;  ///< of the log-normal popularity, independent for every expert and layer
  double drift = 0;    ///< sigma of the log-normal factor between the two loads
};

struct LoadPair {
  switchyard::ExpertLoad before;
  switchyard::ExpertLoad after;
};

/// Integer loads with a median of 100,000: exp(sigma * z1) before, times exp(drift * z2) after; z from Philox(seed).
[[nodiscard]] LoadPair draw_loads(Instance const& instance, std::uint64_t seed);

}  // namespace scoreboard
