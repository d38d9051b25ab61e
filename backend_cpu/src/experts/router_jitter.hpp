// SPDX-License-Identifier: Apache-2.0
/// RouterJitter: MegaBlocks' noise on what its router reads, a factor in [1 - eps, 1 + eps] per element.
#pragma once

#include <cstdint>
#include <span>

#include "switchyard/types/counter_rng.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cpu {

/// Element i is multiplied with narrow(low + u * width): u the 24 high bits of random bits i as a fraction, low = 1 -
/// eps and width = 2 eps rounded to fp32, sum and product rounded to fp32, the factor and the result to `dtype`.
struct RouterJitter {
  CounterRng random;
  double eps;
  DType dtype;

  /// @param first index of values[0] in its tensor
  void multiply(std::int64_t first, std::span<float> values) const;
};

}  // namespace switchyard::cpu
