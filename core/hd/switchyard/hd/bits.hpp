// SPDX-License-Identifier: Apache-2.0
/// Bit patterns of floats, and the canonical NaN of every float type. Compiles for the host and for a CUDA device.
#pragma once

#include <cstdint>

#include "switchyard/types/host_device.hpp"

namespace switchyard::hd {

/// Reinterprets the bytes of one type as another of the same size.
template <typename To, typename From>
SWITCHYARD_HD constexpr To bits_to(From from) noexcept {
  return __builtin_bit_cast(To, from);
}

/// One rule for all types: sign clear, every other bit set. These are CUDA's canonical NaNs for the types up to 32
/// bits; x86 arithmetic makes another pattern (0xffc00000), so a NaN has to be rewritten before it is stored.
inline constexpr std::uint8_t kCanonicalNanFp8 = 0x7f;
inline constexpr std::uint16_t kCanonicalNan16 = 0x7fff;
inline constexpr std::uint32_t kCanonicalNan32 = 0x7fffffff;
inline constexpr std::uint64_t kCanonicalNan64 = 0x7fffffffffffffff;

/// @return `value`, or the canonical NaN if it is any NaN. Subnormals, -0 and infinities keep their bits.
SWITCHYARD_HD inline float canonical(float value) noexcept {
  std::uint32_t const magnitude = bits_to<std::uint32_t>(value) & 0x7fffffffu;
  return magnitude > 0x7f800000u ? bits_to<float>(kCanonicalNan32) : value;
}
SWITCHYARD_HD inline double canonical(double value) noexcept {
  std::uint64_t const magnitude = bits_to<std::uint64_t>(value) & 0x7fffffffffffffffu;
  return magnitude > 0x7ff0000000000000u ? bits_to<double>(kCanonicalNan64) : value;
}

}  // namespace switchyard::hd
