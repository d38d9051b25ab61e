// SPDX-License-Identifier: Apache-2.0
/// The word that one integer contributes to a fingerprint. Words are summed modulo 2^64, in any order.
#pragma once

#include <cstdint>

#include "switchyard/types/host_device.hpp"

namespace switchyard::hd {

/// A bijection on 64 bits in which every input bit reaches every output bit (the finaliser of SplitMix64; Steele, Lea,
/// Flood, OOPSLA'14).
SWITCHYARD_HD constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// The word of `value` at position `index` of `field`. The increment keeps (0, 0, 0) away from mix64's fixed point 0.
SWITCHYARD_HD constexpr std::uint64_t fingerprint_word(std::uint32_t field, std::uint64_t index,
                                                       std::int64_t value) noexcept {
  constexpr std::uint64_t kIncrement = 0x9e3779b97f4a7c15u;
  std::uint64_t const of_field = mix64(field + kIncrement);
  std::uint64_t const of_index = mix64(of_field + index + kIncrement);
  return mix64(of_index + static_cast<std::uint64_t>(value) + kIncrement);
}

/// The index under which a list's length enters its field.
inline constexpr std::uint64_t kFingerprintLengthIndex = 0xffffffffffffffffu;

}  // namespace switchyard::hd
