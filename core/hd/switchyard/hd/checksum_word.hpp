// SPDX-License-Identifier: Apache-2.0
/// The word that eight bytes at one position contribute to a byte checksum. Words are summed modulo 2^64, in any order.
#pragma once

#include <cstdint>

#include "switchyard/hd/mix.hpp"

namespace switchyard::hd {

/// @param index of the eight bytes @param word the bytes, little endian
SWITCHYARD_HD constexpr std::uint64_t checksum_word(std::uint64_t index, std::uint64_t word) noexcept {
  constexpr std::uint64_t kIncrement = 0x9e3779b97f4a7c15u;
  return mix64(word + (index + 1) * kIncrement);
}

}  // namespace switchyard::hd
