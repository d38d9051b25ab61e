// SPDX-License-Identifier: Apache-2.0
/// ExactSum: a fixed-point accumulator wide enough to hold any sum of weight * value without a rounding.
///
/// The number is held as digits of 32 bits in signed words of 64, so an addition touches two or three digits and its
/// carries wait; additions commute and associate because nothing is ever lost. Rounding happens once, when the sum is
/// read. The width follows from the two types: every product from subnormal * subnormal to largest * largest, times
/// 2^31 terms, has its place. Infinities and NaNs are counted beside the digits.
///
/// Wire form (ExactSumState): the digits with all carries resolved, two's complement, least first. Equal sums have
/// equal states, in whatever order and grouping they were added. Bytes: 72 for fp32 weights with bf16 values, 44 with
/// fp16, 76 with fp32; 304 for fp64 weights with fp32 values, 300 with bf16, 272 with fp16.
///
/// Source: the superaccumulator of Kulisch, "Computer arithmetic and validity" (2008), with the deferred carries of
/// Neal, "Fast exact summation using small and large superaccumulators", arXiv 1505.05571; the widths, the wire form
/// and the specials' encoding are ours.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/hd/exact_sum_format.hpp"

namespace switchyard::hd {

/// Widths of the accumulator for products of Weight and Value.
template <typename Weight, typename Value>
struct ExactSumShape {
  using W = FormatOf<Weight>;
  using V = FormatOf<Value>;
  static constexpr int kTermBits = 31;  ///< headroom: up to 2^31 terms
  static constexpr int kLowExponent = W::kMinExponent + V::kMinExponent;
  static constexpr int kHighExponent = (W::kBias + 1) + (V::kBias + 1);  ///< every product is below 2^this
  static constexpr int kBits = kHighExponent - kLowExponent + kTermBits + 1;
  static constexpr int kDigits = (kBits + 31) / 32;
  static constexpr std::size_t kDigitCount = static_cast<std::size_t>(kDigits);
};

/// An ExactSum at rest: what one rank sends to another. Trivially copyable, no padding, byte-comparable.
template <typename Weight, typename Value>
struct ExactSumState {
  std::uint32_t digit[ExactSumShape<Weight, Value>::kDigitCount];
};

/// Every addition moves a digit by less than 2^32, so this many fit into 64 bits beside what was there.
inline constexpr std::uint32_t kExactSumRoom = 0x7ffffff0u;

/// See the file comment. Value is the dtype of expert rows (float, bf16_t, f16_t), Weight is float or double.
/// @tparam kRoom  additions after which carries are resolved; smaller only in tests of exactly that
template <typename Weight, typename Value, std::uint32_t kRoom = kExactSumRoom>
class ExactSum {
 public:
  using Shape = ExactSumShape<Weight, Value>;
  using State = ExactSumState<Weight, Value>;

  constexpr ExactSum() noexcept = default;
  SWITCHYARD_HD constexpr explicit ExactSum(State const& state) noexcept { load(state); }

  /// Adds weight * value, exactly.
  SWITCHYARD_HD constexpr void add_product(Weight weight, Value value) noexcept {
    Unpacked const w = unpack(weight);
    Unpacked const v = unpack(value);
    special_ |= special_of_product(w, v);
    if ((w.special | v.special) != 0) return;
    add_finite(w.significand, v.significand, w.exponent + v.exponent - Shape::kLowExponent);
  }

  /// Adds a value by itself: a term of weight 1.
  SWITCHYARD_HD constexpr void add(Value value) noexcept { add_product(Weight{1}, value); }

  /// Adds another sum.
  SWITCHYARD_HD constexpr void merge(State const& other) noexcept {
    ExactSum sum(other);
    special_ |= sum.special_;
    make_room();
    for (int i = 0; i < kDigits; ++i) digit_[i] += sum.digit_[i];
  }

  /// @return the canonical form: equal for equal sums.
  SWITCHYARD_HD constexpr State state() const noexcept {
    ExactSum resolved = *this;
    resolved.resolve_carries();
    State result{};
    if (special_ == 0) {
      for (int i = 0; i < kDigits; ++i) result.digit[i] = static_cast<std::uint32_t>(resolved.digit_[i]);
    } else {
      result.digit[kDigits - 1] = kSpecialMark | canonical_special();
    }
    return result;
  }

  /// @return the sum rounded once to T (float, double, bf16_t, f16_t): nearest, ties to even. A zero sum is +0; a NaN,
  /// or infinities of both signs, give T's canonical NaN.
  template <typename T>
  SWITCHYARD_HD constexpr T round() const noexcept {
    if (special_ != 0) return special_value<T>(special_);
    ExactSum magnitude = *this;
    magnitude.resolve_carries();
    bool const negative = magnitude.digit_[kDigits - 1] < 0;
    if (negative) magnitude.negate();
    int const top = magnitude.top_bit();
    if (top < 0) return bits_to<T>(typename FormatOf<T>::Bits{0});
    return round_once<T>(negative, magnitude.template cut<T>(top));
  }

 private:
  static constexpr int kDigits = Shape::kDigits;
  static constexpr std::int64_t kDigitMask = 0xffffffff;
  // A digit of the top word that no sum of 2^31 terms reaches marks a state that is not a number.
  static constexpr std::uint32_t kSpecialMark = 0x80000000u;
  // A double's significand is multiplied in two parts, so that each product fits into 64 bits.
  static constexpr int kPartBits = 24;

  static constexpr int kTopPosition = FormatOf<Weight>::kMaxExponent + FormatOf<Value>::kMaxExponent -
                                      Shape::kLowExponent + (FormatOf<Weight>::kMantissaBits < 32 ? 0 : kPartBits);

  static_assert(kRoom >= 2 && kRoom <= kExactSumRoom, "digits must not overflow");
  static_assert(Shape::kBits - 2 < 32 * kDigits - 1, "the mark for special values must lie beyond every sum");
  static_assert(kTopPosition / 32 + 2 < kDigits, "every product must fall on existing digits");

  SWITCHYARD_HD constexpr void add_finite(std::int64_t weight, std::int64_t value, int position) noexcept {
    if constexpr (FormatOf<Weight>::kMantissaBits < 32) {
      add_at(weight * value, position);
    } else {
      std::int64_t const low = weight & ((std::int64_t{1} << kPartBits) - 1);
      add_at(low * value, position);
      add_at((weight >> kPartBits) * value, position + kPartBits);
    }
  }

  /// Adds term * 2^position units of the lowest bit; |term| < 2^63.
  SWITCHYARD_HD constexpr void add_at(std::int64_t term, int position) noexcept {
    make_room();
    int const first = position >> 5;
    int const shift = position & 31;
    std::uint64_t const low = static_cast<std::uint64_t>(term) << shift;
    digit_[first] += static_cast<std::int64_t>(low & 0xffffffffu);
    digit_[first + 1] += static_cast<std::int64_t>(low >> 32);
    digit_[first + 2] += (term >> 1) >> (63 - shift);  // in two steps: a shift by 64 is not defined
  }

  SWITCHYARD_HD constexpr void make_room() noexcept {
    if (additions_ == kRoom) resolve_carries();
    ++additions_;
  }

  /// Brings every digit but the top one into [0, 2^32).
  SWITCHYARD_HD constexpr void resolve_carries() noexcept {
    std::int64_t carry = 0;
    for (int i = 0; i < kDigits - 1; ++i) {
      std::int64_t const digit = digit_[i] + carry;
      digit_[i] = digit & kDigitMask;
      carry = digit >> 32;
    }
    digit_[kDigits - 1] += carry;
    additions_ = 1;  // digits below 2^32 take the room of one addition
  }

  SWITCHYARD_HD constexpr void negate() noexcept {
    for (int i = 0; i < kDigits; ++i) digit_[i] = -digit_[i];
    resolve_carries();
  }

  /// @return the position of the highest set bit, -1 for zero. Carries resolved, not negative.
  SWITCHYARD_HD constexpr int top_bit() const noexcept {
    int i = kDigits - 1;
    while (i >= 0 && digit_[i] == 0) --i;
    if (i < 0) return -1;
    return 32 * i + top_bit_of(static_cast<std::uint64_t>(digit_[i]));
  }

  /// @return the 64 bits from `position` up; positions below 0 hold zeros, those past the top too.
  SWITCHYARD_HD constexpr std::uint64_t bits_from(int position) const noexcept {
    if (position >= 0) return bits_at(position);
    return position <= -64 ? 0 : bits_at(0) << -position;
  }

  /// Apart from bits_from, because a function that calls itself costs a GPU thread a stack of unknown depth.
  SWITCHYARD_HD constexpr std::uint64_t bits_at(int position) const noexcept {
    int const first = position >> 5;
    int const shift = position & 31;
    std::uint64_t const low = digit_or_zero(first) | (digit_or_zero(first + 1) << 32);
    return shift == 0 ? low : (low >> shift) | (digit_or_zero(first + 2) << (64 - shift));
  }

  SWITCHYARD_HD constexpr std::uint64_t digit_or_zero(int i) const noexcept {
    return i < kDigits ? static_cast<std::uint64_t>(digit_[i]) : 0;
  }

  SWITCHYARD_HD constexpr bool any_bit_below(int position) const noexcept {
    for (int i = 0; 32 * i < position; ++i) {
      int const covered = position - 32 * i;
      std::int64_t const mask = covered >= 32 ? kDigitMask : (std::int64_t{1} << covered) - 1;
      if ((digit_[i] & mask) != 0) return true;
    }
    return false;
  }

  template <typename T>
  SWITCHYARD_HD constexpr CutMagnitude cut(int top) const noexcept {
    CutMagnitude result;
    result.exponent = kept_exponent<T>(top + Shape::kLowExponent);
    int const position = result.exponent - Shape::kLowExponent;
    if (position > top + 1) return {0, result.exponent, false, true};  // below half of the least subnormal
    result.kept = bits_from(position);
    result.half = position > 0 && (bits_from(position - 1) & 1u) != 0;
    result.below_half = any_bit_below(position - 1);
    return result;
  }

  SWITCHYARD_HD constexpr std::uint32_t canonical_special() const noexcept {
    bool const single = special_ == kSeenPositiveInfinity || special_ == kSeenNegativeInfinity;
    return single ? special_ : kSeenNan;
  }

  SWITCHYARD_HD constexpr void load(State const& state) noexcept {
    std::uint32_t const top = state.digit[kDigits - 1];
    if ((top & ~std::uint32_t{7}) == kSpecialMark) {
      special_ = top == kSpecialMark ? kSeenNan : top & 7u;
      return;
    }
    for (int i = 0; i < kDigits - 1; ++i) digit_[i] = static_cast<std::int64_t>(state.digit[i]);
    digit_[kDigits - 1] = static_cast<std::int32_t>(top);
    additions_ = 1;
  }

  std::int64_t digit_[Shape::kDigitCount] = {};
  std::uint32_t additions_ = 0;
  std::uint32_t special_ = 0;
};

}  // namespace switchyard::hd
