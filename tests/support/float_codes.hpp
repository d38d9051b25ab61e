// SPDX-License-Identifier: Apache-2.0
/// Float values by their bit patterns: the special ones, and random ones with a chosen spread of exponents.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "oracle/big_integer.hpp"
#include "switchyard/hd/bits.hpp"
#include "switchyard/types/dtype.hpp"

namespace support {

using Random = std::mt19937_64;

/// A float type of the library beside its format in the oracle.
template <typename T>
struct FloatType;
template <>
struct FloatType<float> {
  using Bits = std::uint32_t;
  static constexpr oracle::FloatFormat kFormat = oracle::kFormatF32;
  static constexpr char const* kName = "f32";
};
template <>
struct FloatType<double> {
  using Bits = std::uint64_t;
  static constexpr oracle::FloatFormat kFormat = oracle::kFormatF64;
  static constexpr char const* kName = "f64";
};
template <>
struct FloatType<switchyard::bf16_t> {
  using Bits = std::uint16_t;
  static constexpr oracle::FloatFormat kFormat = oracle::kFormatBf16;
  static constexpr char const* kName = "bf16";
};
template <>
struct FloatType<switchyard::f16_t> {
  using Bits = std::uint16_t;
  static constexpr oracle::FloatFormat kFormat = oracle::kFormatF16;
  static constexpr char const* kName = "f16";
};

template <typename T>
T from_code(std::uint64_t code) {
  return switchyard::hd::bits_to<T>(static_cast<typename FloatType<T>::Bits>(code));
}

/// Zeros, subnormals and normals at both ends, one, infinities and NaNs, of both signs.
template <typename T>
std::vector<T> special_values() {
  oracle::FloatFormat const f = FloatType<T>::kFormat;
  std::uint64_t const least_normal = std::uint64_t{1} << f.fraction_bits;
  std::uint64_t const one = static_cast<std::uint64_t>(f.bias()) << f.fraction_bits;
  std::vector<T> values;
  for (std::uint64_t code :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, least_normal - 1, least_normal, least_normal + 1, one - 1,
        one, one + 1, f.infinity() - 1, f.infinity(), f.infinity() + 1, f.nan()}) {
    values.push_back(from_code<T>(code));
    values.push_back(from_code<T>(code | f.sign()));
  }
  return values;
}

/// A finite value with random sign and fraction and an exponent within `spread` binades below `top` (biased, clipped to
/// the format, subnormals included).
template <typename T>
T random_value(Random& random, int top, int spread) {
  oracle::FloatFormat const f = FloatType<T>::kFormat;
  int const largest = (1 << f.exponent_bits) - 2;
  int const drawn = top - static_cast<int>(random() % static_cast<std::uint64_t>(spread + 1));
  auto const field = static_cast<std::uint64_t>(drawn < 0 ? 0 : drawn > largest ? largest : drawn);
  std::uint64_t const fraction = random() & ((std::uint64_t{1} << f.fraction_bits) - 1);
  std::uint64_t const sign = (random() & 1) != 0 ? f.sign() : 0;
  return from_code<T>(sign | (field << f.fraction_bits) | fraction);
}

/// -value.
template <typename T>
T negated(T value) {
  return from_code<T>(oracle::code_of(value) ^ FloatType<T>::kFormat.sign());
}

}  // namespace support
