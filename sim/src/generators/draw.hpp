// SPDX-License-Identifier: Apache-2.0
/// The draws all generators share: uniform and normal numbers at a (purpose, step, layer, index) address.
#pragma once

#include <cstdint>

#include "switchyard/hd/elementary.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::sim {

/// What a stream of random numbers is for. Values are part of the generators' format: never reuse one.
enum class Purpose : std::uint64_t {
  expert_order = 1,
  domain_tilt = 2,
  drift = 3,
  domain_of_step = 4,
  token = 5,
  race = 6,
  ragged = 7,
  domain_of_request = 8,
  routing_tilt = 9,
  hot = 10,
  burst = 11,
  step_seed = 12,
  first_turn = 13,
};

/// @return the generator of one (purpose, major, minor); both below 2^28.
[[nodiscard]] inline CounterRng stream_of(std::uint64_t seed, Purpose purpose, int major, int minor) {
  return CounterRng(seed, static_cast<std::uint64_t>(purpose) << 56 | static_cast<std::uint64_t>(major) << 28 |
                              static_cast<std::uint64_t>(minor));
}

/// @return a double in (0, 1), an odd multiple of 2^-53: never 0 or 1, so that logarithm and quantile are finite.
[[nodiscard]] inline double open_unit(std::uint64_t bits) {
  return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;
}

[[nodiscard]] inline double normal_at(CounterRng const& rng, std::uint64_t index) {
  return hd::normal_quantile(open_unit(rng.bits(index)));
}

}  // namespace switchyard::sim
