// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/counts.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard {

std::int64_t checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  SWITCHYARD_REQUIRE(!__builtin_add_overflow(a, b, &sum) && sum >= 0, invalid_argument,
                     "amount {} + {} is negative or does not fit 63 bits", a, b);
  return sum;
}

std::int64_t checked_sub(std::int64_t a, std::int64_t b) {
  std::int64_t difference = 0;
  SWITCHYARD_REQUIRE(!__builtin_sub_overflow(a, b, &difference) && difference >= 0, invalid_argument,
                     "amount {} - {} is negative or does not fit 63 bits", a, b);
  return difference;
}

std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  SWITCHYARD_REQUIRE(!__builtin_mul_overflow(a, b, &product) && product >= 0, invalid_argument,
                     "amount {} * {} is negative or does not fit 63 bits", a, b);
  return product;
}

}  // namespace switchyard
