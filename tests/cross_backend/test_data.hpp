// SPDX-License-Identifier: Apache-2.0
/// Seeded inputs of the CPU/GPU comparison: every kind of float, and numbers whose sum depends on the order.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/hd/convert.hpp"
#include "switchyard/hd/philox.hpp"

namespace cross_backend {

inline constexpr std::uint64_t kSeed = 0x5317c47a4d;

inline std::uint32_t random_word(std::uint64_t stream, std::uint64_t index) {
  return static_cast<std::uint32_t>(switchyard::hd::philox_bits(kSeed, stream, index));
}

/// Any bit pattern: subnormals, infinities, NaNs of all payloads, both zeros and everything between.
inline float any_float(std::uint64_t stream, std::uint64_t index) {
  constexpr std::uint32_t kSpecial[] = {0u,          0x80000000u, 1u,          0x80000001u, 0x007fffffu, 0x7f800000u,
                                        0xff800000u, 0x7fc00000u, 0xffc00001u, 0x7f800001u, 0x7f7fffffu, 0xff7fffffu};
  std::uint32_t const random = random_word(stream, index);
  bool const special = index % 5 == 0;
  return switchyard::hd::bits_to<float>(special ? kSpecial[random % 12] : random);
}

/// Exponents from 2^-30 to 2^30, both signs: sums cancel, and another order gives other bits.
inline float wide_float(std::uint64_t stream, std::uint64_t index) {
  std::uint32_t const random = random_word(stream, index);
  return switchyard::hd::bits_to<float>((random & 0x807fffffu) | ((97u + (random >> 23) % 61u) << 23));
}

/// Narrows without changing NaN payloads of float (a test row is data, not a result).
template <typename T>
T as_row_element(float value) {
  return switchyard::hd::narrow<T>(value);
}
template <>
inline float as_row_element<float>(float value) {
  return value;
}

}  // namespace cross_backend
