// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/counter_rng.hpp"

#include "switchyard/hd/philox.hpp"

namespace switchyard {

namespace {

/// The high 64 bits of the 128-bit product, from 32-bit halves.
std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
  std::uint64_t const low = (a & 0xffffffffu) * (b & 0xffffffffu);
  std::uint64_t const cross = (a >> 32) * (b & 0xffffffffu) + (low >> 32);
  std::uint64_t const other = (a & 0xffffffffu) * (b >> 32) + (cross & 0xffffffffu);
  return (a >> 32) * (b >> 32) + (cross >> 32) + (other >> 32);
}

}  // namespace

std::uint64_t CounterRng::bits(std::uint64_t index) const noexcept {
  return hd::philox_bits(seed_, stream_, index);
}

std::uint64_t CounterRng::below(std::uint64_t index, std::uint64_t bound) const noexcept {
  return multiply_high(bits(index), bound);
}

}  // namespace switchyard
