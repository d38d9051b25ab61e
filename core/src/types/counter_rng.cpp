// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/counter_rng.hpp"

#include "switchyard/hd/philox.hpp"

namespace switchyard {

std::uint64_t CounterRng::bits(std::uint64_t index) const noexcept {
  return hd::philox_bits(seed_, stream_, index);
}

std::uint64_t CounterRng::below(std::uint64_t index, std::uint64_t bound) const noexcept {
  return hd::multiply_high(bits(index), bound);
}

}  // namespace switchyard
