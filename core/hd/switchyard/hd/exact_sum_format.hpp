// SPDX-License-Identifier: Apache-2.0
/// Binary float formats seen as integers: value = significand * 2^exponent going in, one correct rounding coming out.
///
/// Unlike convert.hpp, which narrows a float, this rounds a number of any size once, whatever the target: no detour
/// over fp32, hence no double rounding.
#pragma once

#include <cstdint>

#include "switchyard/hd/bits.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::hd {

/// @tparam kBits        storage width
/// @tparam kMantissa    stored fraction bits
template <typename StoredBits, int kBits, int kMantissa>
struct BinaryFormat {
  using Bits = StoredBits;
  static constexpr int kMantissaBits = kMantissa;
  static constexpr int kExponentField = kBits - 1 - kMantissa;
  static constexpr int kBias = (1 << (kExponentField - 1)) - 1;
  static constexpr int kMinExponent = 1 - kBias - kMantissa;  ///< of the least bit of a subnormal
  static constexpr int kMaxExponent = kBias - kMantissa;      ///< of the least bit of the largest number
  static constexpr std::uint64_t kFieldMax = (std::uint64_t{1} << kExponentField) - 1;
  static constexpr std::uint64_t kInfinity = kFieldMax << kMantissa;
  static constexpr std::uint64_t kSign = std::uint64_t{1} << (kBits - 1);
  static constexpr std::uint64_t kCanonicalNan = kSign - 1;
};

template <typename T>
struct FormatOf;
template <>
struct FormatOf<float> : BinaryFormat<std::uint32_t, 32, 23> {};
template <>
struct FormatOf<double> : BinaryFormat<std::uint64_t, 64, 52> {};
template <>
struct FormatOf<bf16_t> : BinaryFormat<std::uint16_t, 16, 7> {};
template <>
struct FormatOf<f16_t> : BinaryFormat<std::uint16_t, 16, 10> {};

/// What kinds of special values a sum has met, as bits that are or-ed together.
inline constexpr std::uint32_t kSeenPositiveInfinity = 1;
inline constexpr std::uint32_t kSeenNegativeInfinity = 2;
inline constexpr std::uint32_t kSeenNan = 4;

/// A float as integers: significand * 2^exponent when finite (subnormals are not normalised).
struct Unpacked {
  std::int64_t significand = 0;  ///< signed; below 2^53 in magnitude
  int exponent = 0;
  std::uint32_t special = 0;  ///< kSeen*, 0 for a finite value
};

template <typename T>
SWITCHYARD_HD constexpr Unpacked unpack(T value) noexcept {
  using F = FormatOf<T>;
  std::uint64_t const bits = bits_to<typename F::Bits>(value);
  bool const negative = (bits & F::kSign) != 0;
  std::uint64_t const field = (bits >> F::kMantissaBits) & F::kFieldMax;
  std::uint64_t const fraction = bits & ((std::uint64_t{1} << F::kMantissaBits) - 1);
  Unpacked result;
  if (field == F::kFieldMax) {
    result.special = fraction != 0 ? kSeenNan : negative ? kSeenNegativeInfinity : kSeenPositiveInfinity;
    return result;
  }
  std::uint64_t const hidden = field == 0 ? 0 : std::uint64_t{1} << F::kMantissaBits;
  auto const magnitude = static_cast<std::int64_t>(fraction | hidden);
  result.significand = negative ? -magnitude : magnitude;
  result.exponent = F::kMinExponent + (field == 0 ? 0 : static_cast<int>(field) - 1);
  return result;
}

/// @return the special value that the product of two values is, 0 when it is finite. 0 * infinity is a NaN.
SWITCHYARD_HD constexpr std::uint32_t special_of_product(Unpacked const& a, Unpacked const& b) noexcept {
  if ((a.special | b.special) == 0) return 0;
  if (((a.special | b.special) & kSeenNan) != 0) return kSeenNan;
  bool const a_zero = a.special == 0 && a.significand == 0;
  bool const b_zero = b.special == 0 && b.significand == 0;
  if (a_zero || b_zero) return kSeenNan;
  bool const a_negative = a.special == kSeenNegativeInfinity || a.significand < 0;
  bool const b_negative = b.special == kSeenNegativeInfinity || b.significand < 0;
  return a_negative != b_negative ? kSeenNegativeInfinity : kSeenPositiveInfinity;
}

/// @return the value of a sum that met `special` (not 0): infinities of both signs make a NaN.
template <typename T>
SWITCHYARD_HD constexpr T special_value(std::uint32_t special) noexcept {
  using F = FormatOf<T>;
  std::uint64_t const bits = special == kSeenPositiveInfinity   ? F::kInfinity
                             : special == kSeenNegativeInfinity ? F::kInfinity | F::kSign
                                                                : F::kCanonicalNan;
  return bits_to<T>(static_cast<typename F::Bits>(bits));
}

/// A magnitude that was cut to the precision of a format: kept * 2^exponent, plus what was cut off.
struct CutMagnitude {
  std::uint64_t kept = 0;
  int exponent = 0;         ///< at least the format's kMinExponent
  bool half = false;        ///< the first bit below `kept`
  bool below_half = false;  ///< any bit below that one
};

/// @return the exponent of the least bit that T keeps of a number whose top bit is worth 2^top.
template <typename T>
SWITCHYARD_HD constexpr int kept_exponent(int top) noexcept {
  using F = FormatOf<T>;
  int const normal = top - F::kMantissaBits;
  return normal > F::kMinExponent ? normal : F::kMinExponent;
}

/// Rounds to nearest, ties to even; overflow gives the infinity; a nonzero magnitude that rounds to 0 keeps its sign.
template <typename T>
SWITCHYARD_HD constexpr T round_once(bool negative, CutMagnitude const& cut) noexcept {
  using F = FormatOf<T>;
  std::uint64_t code = F::kInfinity;
  if (cut.exponent <= F::kMaxExponent) {
    bool const up = cut.half && (cut.below_half || (cut.kept & 1u) != 0);
    // The hidden bit adds the 1 that the exponent field of a normal number is ahead of a subnormal's; a carry out of
    // the significand moves into the field, and out of the largest number into infinity.
    auto const field = static_cast<std::uint64_t>(cut.exponent - F::kMinExponent);
    code = (field << F::kMantissaBits) + cut.kept + (up ? 1 : 0);
  }
  return bits_to<T>(static_cast<typename F::Bits>(code | (negative ? F::kSign : 0)));
}

/// @return the position of the highest set bit; value is not 0.
SWITCHYARD_HD constexpr int top_bit_of(std::uint64_t value) noexcept {
  int bit = 0;
  for (int step = 32; step > 0; step /= 2)
    if ((value >> (bit + step)) != 0) bit += step;
  return bit;
}

/// @return `value` rounded once to T, nearest, ties to even; -0 stays, a NaN becomes T's canonical one.
template <typename T>
SWITCHYARD_HD constexpr T narrow_double(double value) noexcept {
  Unpacked const number = unpack(value);
  if (number.special != 0) return special_value<T>(number.special);
  bool const negative = (bits_to<std::uint64_t>(value) & FormatOf<double>::kSign) != 0;
  auto const magnitude = static_cast<std::uint64_t>(negative ? -number.significand : number.significand);
  if (magnitude == 0) return round_once<T>(negative, CutMagnitude{0, FormatOf<T>::kMinExponent, false, false});
  int const top = top_bit_of(magnitude);
  int const exponent = kept_exponent<T>(top + number.exponent);
  int const drop = exponent - number.exponent;  // low bits that T has no room for
  if (drop > top + 1) return round_once<T>(negative, CutMagnitude{0, exponent, false, true});
  if (drop <= 0) return round_once<T>(negative, CutMagnitude{magnitude << -drop, exponent, false, false});
  std::uint64_t const half = std::uint64_t{1} << (drop - 1);
  return round_once<T>(
      negative, CutMagnitude{magnitude >> drop, exponent, (magnitude & half) != 0, (magnitude & (half - 1)) != 0});
}

}  // namespace switchyard::hd
