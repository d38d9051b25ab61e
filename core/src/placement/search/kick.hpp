// SPDX-License-Identifier: Apache-2.0
/// Kicks: random changes that take a stuck search elsewhere.
#pragma once

#include <cstdint>

#include "layer_state.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::placement {

/// Draws numbers one after the other from a counter-based generator: the same sequence everywhere.
class Draws {
 public:
  explicit Draws(CounterRng const& rng) : rng_(rng) {}
  [[nodiscard]] std::size_t below(std::size_t bound) { return rng_.below(next_++, bound); }

 private:
  CounterRng rng_;
  std::uint64_t next_ = 0;
};

/// A few random legal changes: slots exchanged, replicas given to other experts. Replica counts stay above zero and the
/// number of filled slots stays as it is.
void kick(LayerState& state, Draws& draws);

}  // namespace switchyard::placement
