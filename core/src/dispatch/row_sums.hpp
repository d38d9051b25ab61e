// SPDX-License-Identifier: Apache-2.0
/// Sums of row counts that stay defined for any input, so that a hostile plan can be judged without overflow.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

namespace switchyard {

/// a + b, stuck at the largest value instead of overflowing.
[[nodiscard]] inline std::int64_t saturating_add(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::int64_t>::max() : sum;
}

/// a * b for a, b >= 0, stuck at the largest value instead of overflowing.
[[nodiscard]] inline std::int64_t saturating_mul(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<std::int64_t>::max() : product;
}

[[nodiscard]] inline std::int64_t sum_rows(std::span<std::int64_t const> counts) noexcept {
  std::int64_t sum = 0;
  for (std::int64_t const count : counts) sum = saturating_add(sum, count);
  return sum;
}

}  // namespace switchyard
