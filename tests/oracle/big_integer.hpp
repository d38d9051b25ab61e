// SPDX-License-Identifier: Apache-2.0
/// Integers of any size, and floats of any binary format as integer multiples of a small power of two: the exact sums
/// that the library must reproduce.
///
/// Schoolbook arithmetic on sign and magnitude. Rounding is a search: the two codes whose values enclose the number are
/// found by bisection over all codes of the format, then the distances are compared. No shifting of significands, no
/// guard bits, nothing in common with what is tested.
///
/// Worked example in units of 2^-1300: bf16's least number is 2^-133 = 2^1167 units. Half of it, 2^1166 units, lies
/// between codes 0 and 1 at equal distance and goes to the even code 0; one unit more goes to code 1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace oracle {

class BigInteger {
 public:
  BigInteger() = default;
  explicit BigInteger(std::int64_t value) : negative_(value < 0) {
    std::uint64_t magnitude = value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
    for (; magnitude != 0; magnitude >>= 32) words_.push_back(static_cast<std::uint32_t>(magnitude));
  }

  bool is_zero() const { return words_.empty(); }
  bool is_negative() const { return negative_; }
  BigInteger absolute() const {
    BigInteger result = *this;
    result.negative_ = false;
    return result;
  }

  BigInteger times_power_of_two(int exponent) const {
    BigInteger result;
    result.negative_ = negative_;
    result.words_.assign(static_cast<std::size_t>(exponent / 32), 0);
    std::uint64_t carry = 0;
    for (std::uint32_t word : words_) {
      carry |= static_cast<std::uint64_t>(word) << (exponent % 32);
      result.words_.push_back(static_cast<std::uint32_t>(carry));
      carry >>= 32;
    }
    result.words_.push_back(static_cast<std::uint32_t>(carry));
    return result.trimmed();
  }

  BigInteger times(BigInteger const& other) const {
    BigInteger result;
    result.negative_ = negative_ != other.negative_;
    result.words_.assign(words_.size() + other.words_.size(), 0);
    for (std::size_t i = 0; i < words_.size(); ++i) {
      std::uint64_t carry = 0;
      for (std::size_t j = 0; j < other.words_.size(); ++j) {
        carry += static_cast<std::uint64_t>(words_[i]) * other.words_[j] + result.words_[i + j];
        result.words_[i + j] = static_cast<std::uint32_t>(carry);
        carry >>= 32;
      }
      result.words_[i + other.words_.size()] = static_cast<std::uint32_t>(carry);
    }
    return result.trimmed();
  }

  BigInteger plus(BigInteger const& other) const {
    if (negative_ == other.negative_) return add_magnitudes(*this, other, negative_);
    int const order = compare_magnitudes(*this, other);
    if (order == 0) return {};
    return order > 0 ? subtract_magnitudes(*this, other, negative_)
                     : subtract_magnitudes(other, *this, other.negative_);
  }

  /// -1, 0 or 1 as |a| is below, equal to or above |b|.
  static int compare_magnitudes(BigInteger const& a, BigInteger const& b) {
    if (a.words_.size() != b.words_.size()) return a.words_.size() < b.words_.size() ? -1 : 1;
    for (std::size_t i = a.words_.size(); i-- > 0;)
      if (a.words_[i] != b.words_[i]) return a.words_[i] < b.words_[i] ? -1 : 1;
    return 0;
  }

 private:
  std::uint32_t word(std::size_t i) const { return i < words_.size() ? words_[i] : 0; }

  static BigInteger add_magnitudes(BigInteger const& a, BigInteger const& b, bool negative) {
    BigInteger result;
    result.negative_ = negative;
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < std::max(a.words_.size(), b.words_.size()) + 1; ++i) {
      carry += static_cast<std::uint64_t>(a.word(i)) + b.word(i);
      result.words_.push_back(static_cast<std::uint32_t>(carry));
      carry >>= 32;
    }
    return result.trimmed();
  }

  static BigInteger subtract_magnitudes(BigInteger const& larger, BigInteger const& smaller, bool negative) {
    BigInteger result;
    result.negative_ = negative;
    std::uint32_t borrow = 0;
    for (std::size_t i = 0; i < larger.words_.size(); ++i) {
      std::uint64_t const taken = static_cast<std::uint64_t>(smaller.word(i)) + borrow;
      borrow = larger.words_[i] < taken ? 1 : 0;
      result.words_.push_back(static_cast<std::uint32_t>(larger.words_[i] - taken));
    }
    return result.trimmed();
  }

  BigInteger trimmed() const {
    BigInteger result = *this;
    while (!result.words_.empty() && result.words_.back() == 0) result.words_.pop_back();
    if (result.words_.empty()) result.negative_ = false;
    return result;
  }

  bool negative_ = false;
  std::vector<std::uint32_t> words_;  ///< magnitude, least first, no leading zeros
};

/// A binary interchange format, by the two numbers that define it.
struct FloatFormat {
  int exponent_bits;
  int fraction_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  std::uint64_t infinity() const { return ((std::uint64_t{1} << exponent_bits) - 1) << fraction_bits; }
  std::uint64_t sign() const { return std::uint64_t{1} << (exponent_bits + fraction_bits); }
  std::uint64_t nan() const { return sign() - 1; }  ///< the canonical one: every bit but the sign
};
inline constexpr FloatFormat kFormatF32{8, 23};
inline constexpr FloatFormat kFormatF64{11, 52};
inline constexpr FloatFormat kFormatBf16{8, 7};
inline constexpr FloatFormat kFormatF16{5, 10};

/// The magnitude of a code in units of 2^unit, of which it must be a multiple. The code of infinity gives the number
/// that would come next.
inline BigInteger units_of_magnitude(FloatFormat const& format, std::uint64_t code, int unit) {
  std::uint64_t const per_binade = std::uint64_t{1} << format.fraction_bits;
  auto const binade = static_cast<int>(code / per_binade);
  auto const fraction = static_cast<std::int64_t>(code % per_binade);
  int const least = 1 - format.bias() - format.fraction_bits - unit;
  if (binade == 0) return BigInteger(fraction).times_power_of_two(least);
  return BigInteger(fraction + static_cast<std::int64_t>(per_binade)).times_power_of_two(least + binade - 1);
}

/// What a float code stands for.
struct FloatValue {
  BigInteger units;
  bool nan = false;
  bool infinite = false;
  bool negative = false;
};

inline FloatValue value_of(FloatFormat const& format, std::uint64_t code, int unit) {
  FloatValue value;
  std::uint64_t const magnitude = code & (format.sign() - 1);
  value.negative = (code & format.sign()) != 0;
  value.nan = magnitude > format.infinity();
  value.infinite = magnitude == format.infinity();
  if (!value.nan && !value.infinite) {
    value.units = units_of_magnitude(format, magnitude, unit);
    if (value.negative) value.units = value.units.times(BigInteger(-1));
  }
  return value;
}

/// The code nearest to units * 2^unit, ties to the even code; zero is +0.
inline std::uint64_t nearest_code(FloatFormat const& format, BigInteger const& units, int unit) {
  std::uint64_t const sign = units.is_negative() ? format.sign() : 0;
  std::uint64_t below = 0;  // the largest code that is not above the number, between 0 and infinity
  std::uint64_t end = format.infinity() + 1;
  while (end - below > 1) {
    std::uint64_t const middle = below + (end - below) / 2;
    bool const not_above = BigInteger::compare_magnitudes(units_of_magnitude(format, middle, unit), units) <= 0;
    (not_above ? below : end) = middle;
  }
  if (below == format.infinity()) return sign | below;
  BigInteger const neighbours =
      units_of_magnitude(format, below, unit).plus(units_of_magnitude(format, below + 1, unit));
  int const side = BigInteger::compare_magnitudes(units.times_power_of_two(1), neighbours);
  bool const up = side > 0 || (side == 0 && below % 2 == 1);
  return sign | (below + (up ? 1 : 0));
}

/// An exact sum of products, with IEEE rules for what is not finite.
class ExactSumOracle {
 public:
  /// @param weight, value  the formats of the factors; any binary format up to fp64
  ExactSumOracle(FloatFormat const& weight, FloatFormat const& value)
      : weight_(weight), value_(value), unit_(weight.exponent_bits > 8 || value.exponent_bits > 8 ? -1100 : -160) {}

  void add_product(std::uint64_t weight_code, std::uint64_t value_code) {
    FloatValue const a = value_of(weight_, weight_code, unit_);
    FloatValue const b = value_of(value_, value_code, unit_);
    bool const zero_times_infinity = (a.infinite && is_zero(b)) || (b.infinite && is_zero(a));
    if (a.nan || b.nan || zero_times_infinity) {
      nan_ = true;
    } else if (a.infinite || b.infinite) {
      (a.negative != b.negative ? negative_infinity_ : positive_infinity_) = true;
    } else {
      sum_ = sum_.plus(a.units.times(b.units));
    }
  }

  /// The sum as a code of `format`, rounded once.
  std::uint64_t round(FloatFormat const& format) const {
    if (nan_ || (positive_infinity_ && negative_infinity_)) return format.nan();
    if (positive_infinity_) return format.infinity();
    if (negative_infinity_) return format.sign() | format.infinity();
    int const finer = 1100;  // so that every number of the target is a whole number of units too
    return nearest_code(format, sum_.times_power_of_two(finer), 2 * unit_ - finer);
  }

 private:
  static bool is_zero(FloatValue const& value) { return !value.nan && !value.infinite && value.units.is_zero(); }

  FloatFormat weight_;
  FloatFormat value_;
  int unit_;  ///< of the factors, as a power of two; products have its square
  BigInteger sum_;
  bool nan_ = false;
  bool positive_infinity_ = false;
  bool negative_infinity_ = false;
};

template <typename T>
std::uint64_t code_of(T value) {
  std::uint64_t code = 0;
  std::memcpy(&code, &value, sizeof value);
  return code;
}

}  // namespace oracle
