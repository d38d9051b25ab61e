// SPDX-License-Identifier: Apache-2.0
/// What the codes of quantised matrices stand for, and the one rounding of code times scale.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/hd/arithmetic.hpp"
#include "switchyard/hd/convert.hpp"

namespace switchyard::hd {

/// The value of an E2M1 code (sign, 2 exponent bits, 1 mantissa bit): 0, 0.5, 1, 1.5, 2, 3, 4, 6.
SWITCHYARD_HD inline float widen_e2m1(std::uint32_t code) noexcept {
  std::uint32_t const magnitude = code & 7u;
  // From 2 on the code counts in steps of half a binade; below it the value is code / 2, 0 or a half.
  std::uint32_t const normal = (magnitude << 22) + (126u << 23);
  std::uint32_t const bits = magnitude >= 2u ? normal : magnitude * 0x3f000000u;
  return bits_to<float>(bits | ((code & 8u) << 28));
}

/// code * scale in fp32, NaN canonical.
SWITCHYARD_HD inline float dequantize(float code, float scale) noexcept {
  return canonical(mul_rn(code, scale));
}
/// A group's scale times 1 / tensor scale, two roundings.
SWITCHYARD_HD inline float scale_with_tensor(float scale, float tensor_scale) noexcept {
  return mul_rn(scale, div_rn(1.0f, tensor_scale));
}

/// The fp32 scale of a group, from memory of any alignment.
SWITCHYARD_HD inline float load_scale_f32(std::byte const* scales, std::int64_t group) noexcept {
  std::uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= static_cast<std::uint32_t>(scales[4 * group + i]) << (8 * i);
  return bits_to<float>(bits);
}

/// The half of a byte that holds element i.
SWITCHYARD_HD inline std::uint32_t half_byte(std::byte const* codes, std::int64_t i) noexcept {
  return (static_cast<std::uint32_t>(codes[i / 2]) >> (i % 2 * 4)) & 15u;
}

/// Element i of a row of codes as an exact float, minus the zero point where there is one.
struct E4m3Codes {
  SWITCHYARD_HD float operator()(std::byte const* codes, std::int64_t i) const noexcept {
    return widen(fp8_e4m3_t{static_cast<std::uint8_t>(codes[i])});
  }
};
struct Int8Codes {
  SWITCHYARD_HD float operator()(std::byte const* codes, std::int64_t i) const noexcept {
    return static_cast<float>(static_cast<std::int8_t>(codes[i]));
  }
};
struct Uint8Codes {
  int zero_point;
  SWITCHYARD_HD float operator()(std::byte const* codes, std::int64_t i) const noexcept {
    return static_cast<float>(static_cast<int>(codes[i]) - zero_point);
  }
};
struct E2m1Codes {
  SWITCHYARD_HD float operator()(std::byte const* codes, std::int64_t i) const noexcept {
    return widen_e2m1(half_byte(codes, i));
  }
};
struct Uint4Codes {
  int zero_point;
  SWITCHYARD_HD float operator()(std::byte const* codes, std::int64_t i) const noexcept {
    return static_cast<float>(static_cast<int>(half_byte(codes, i)) - zero_point);
  }
};

}  // namespace switchyard::hd
