// SPDX-License-Identifier: Apache-2.0
/// Checked 64-bit amounts: sizes are computed before anything is allocated, and an overflow is an error.
#pragma once

#include <compare>
#include <cstdint>

namespace switchyard {

/// Overflow-checked arithmetic on non-negative amounts. @throws Error{invalid_argument} on overflow or a negative
/// result.
[[nodiscard]] std::int64_t checked_add(std::int64_t a, std::int64_t b);
[[nodiscard]] std::int64_t checked_sub(std::int64_t a, std::int64_t b);
[[nodiscard]] std::int64_t checked_mul(std::int64_t a, std::int64_t b);

/// A non-negative 64-bit amount of one unit; amounts of different units do not mix.
template <typename Unit>
class CheckedCount {
 public:
  constexpr CheckedCount() = default;
  /// @throws Error{invalid_argument} if `value` is negative.
  explicit CheckedCount(std::int64_t value) : value_(checked_add(value, 0)) {}

  [[nodiscard]] constexpr std::int64_t value() const { return value_; }

  CheckedCount& operator+=(CheckedCount other) {
    value_ = checked_add(value_, other.value_);
    return *this;
  }
  friend CheckedCount operator+(CheckedCount a, CheckedCount b) { return a += b; }
  friend CheckedCount operator-(CheckedCount a, CheckedCount b) {
    return CheckedCount(checked_sub(a.value_, b.value_));
  }
  friend CheckedCount operator*(CheckedCount a, std::int64_t factor) {
    return CheckedCount(checked_mul(a.value_, factor));
  }
  friend constexpr auto operator<=>(CheckedCount, CheckedCount) = default;

 private:
  std::int64_t value_ = 0;
};

using TokenCount = CheckedCount<struct TokenUnit>;
using ByteCount = CheckedCount<struct ByteUnit>;

}  // namespace switchyard
