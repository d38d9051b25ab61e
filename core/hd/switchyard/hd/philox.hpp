// SPDX-License-Identifier: Apache-2.0
/// Philox-4x32-10: a counter-based random generator in integer operations, equal on the host and in a kernel.
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
#pragma once

#include <cstdint>

#include "switchyard/types/host_device.hpp"

namespace switchyard::hd {

struct PhiloxBlock {
  std::uint32_t word[4];
};
struct PhiloxKey {
  std::uint32_t word[2];
};

namespace detail {

SWITCHYARD_HD constexpr PhiloxBlock philox_round(PhiloxBlock x, PhiloxKey key) noexcept {
  std::uint64_t const product0 = std::uint64_t{0xd2511f53u} * x.word[0];
  std::uint64_t const product1 = std::uint64_t{0xcd9e8d57u} * x.word[2];
  return PhiloxBlock{
      {static_cast<std::uint32_t>(product1 >> 32) ^ x.word[1] ^ key.word[0], static_cast<std::uint32_t>(product1),
       static_cast<std::uint32_t>(product0 >> 32) ^ x.word[3] ^ key.word[1], static_cast<std::uint32_t>(product0)}};
}

}  // namespace detail

/// @return the block of 128 random bits that belongs to `counter` under `key`.
SWITCHYARD_HD constexpr PhiloxBlock philox_4x32_10(PhiloxBlock counter, PhiloxKey key) noexcept {
  for (int round = 0; round < 10; ++round) {
    counter = detail::philox_round(counter, key);
    key.word[0] += 0x9e3779b9u;
    key.word[1] += 0xbb67ae85u;
  }
  return counter;
}

/// The 64 bits of (seed, stream, index): key = seed, counter = index in its low half and stream in its high half; the
/// first two words of the block, low word first.
SWITCHYARD_HD constexpr std::uint64_t philox_bits(std::uint64_t seed, std::uint64_t stream,
                                                  std::uint64_t index) noexcept {
  PhiloxBlock const counter{{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                             static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}};
  PhiloxKey const key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
  PhiloxBlock const block = philox_4x32_10(counter, key);
  return block.word[0] | (std::uint64_t{block.word[1]} << 32);
}

/// The high 64 bits of the 128-bit product, from 32-bit halves: a uniform integer below b when a is 64 uniform bits.
SWITCHYARD_HD constexpr std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t const low = (a & 0xffffffffu) * (b & 0xffffffffu);
  std::uint64_t const cross = (a >> 32) * (b & 0xffffffffu) + (low >> 32);
  std::uint64_t const other = (a & 0xffffffffu) * (b >> 32) + (cross & 0xffffffffu);
  return (a >> 32) * (b >> 32) + (cross >> 32) + (other >> 32);
}

}  // namespace switchyard::hd
