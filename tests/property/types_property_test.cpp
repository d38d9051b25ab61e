// SPDX-License-Identifier: Apache-2.0
// Properties of the types and work items that hold for any input: checked arithmetic equals arithmetic in 128 bits,
// narrowing is monotonic, fingerprints ignore the order of evaluation, where rows lie never changes a combined bit.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/gather_step.hpp"
#include "switchyard/types/counts.hpp"
#include "switchyard/types/error.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace hd = switchyard::hd;

namespace {

__extension__ using Wide = __int128;

/// The value, or -1 when the operation refused.
template <typename Operation>
std::int64_t value_or_refusal(Operation const& operation) {
  try {
    return operation();
  } catch (switchyard::Error const&) {
    return -1;
  }
}

std::int64_t in_range_or_refusal(Wide exact) {
  return exact >= 0 && exact <= std::numeric_limits<std::int64_t>::max() ? static_cast<std::int64_t>(exact) : -1;
}

std::vector<std::int64_t> shuffled_indices(std::size_t count, unsigned seed) {
  std::vector<std::int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  return order;
}

float float_of(std::uint32_t bits) {
  return hd::bits_to<float>(bits);
}

/// Order on floats with -0 below +0; NaN excluded by the caller.
bool not_above(float a, float b) {
  return a <= b;
}

}  // namespace

TEST_CASE("checked arithmetic equals 128-bit arithmetic or refuses") {
  CHECK(rc::check([](std::int64_t a, std::int64_t b, bool large) {
    // RapidCheck's integers are small; spread half of them over all 64 bits.
    auto const x = static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * (large ? 0x9e3779b97f4a7c15u : 1u));
    RC_ASSERT(value_or_refusal([&] { return switchyard::checked_add(x, b); }) == in_range_or_refusal(Wide{x} + b));
    RC_ASSERT(value_or_refusal([&] { return switchyard::checked_sub(x, b); }) == in_range_or_refusal(Wide{x} - b));
    RC_ASSERT(value_or_refusal([&] { return switchyard::checked_mul(x, b); }) == in_range_or_refusal(Wide{x} * b));
  }));
}

TEST_CASE("narrowing is monotonic and odd") {
  CHECK(rc::check([](std::uint32_t a_bits, std::uint32_t b_bits) {
    float a = float_of(a_bits);
    float b = float_of(b_bits);
    RC_PRE(a == a && b == b);
    if (!not_above(a, b)) std::swap(a, b);
    auto const e4m3 = [](float x) { return hd::widen(hd::round_to_e4m3(x, switchyard::Saturation::saturate)); };
    auto const e5m2 = [](float x) { return hd::widen(hd::round_to_e5m2(x, switchyard::Saturation::none)); };
    RC_ASSERT(not_above(hd::widen(hd::round_to_bf16(a)), hd::widen(hd::round_to_bf16(b))));
    RC_ASSERT(not_above(hd::widen(hd::round_to_f16(a)), hd::widen(hd::round_to_f16(b))));
    RC_ASSERT(not_above(e4m3(a), e4m3(b)));
    RC_ASSERT(not_above(e5m2(a), e5m2(b)));
    RC_ASSERT(hd::round_to_bf16(-a).bits == (hd::round_to_bf16(a).bits ^ 0x8000));
    RC_ASSERT(hd::round_to_e5m2(-a, switchyard::Saturation::none).bits ==
              (hd::round_to_e5m2(a, switchyard::Saturation::none).bits ^ 0x80));
  }));
}

TEST_CASE("a fingerprint does not depend on the order in which elements are added") {
  CHECK(rc::check([](std::vector<std::int64_t> const& values, unsigned seed) {
    switchyard::FingerprintBuilder forward;
    for (std::size_t i = 0; i < values.size(); ++i) forward.add_at(3, i, values[i]);
    switchyard::FingerprintBuilder shuffled;
    for (std::int64_t const i : shuffled_indices(values.size(), seed))
      shuffled.add_at(3, static_cast<std::uint64_t>(i), values[static_cast<std::size_t>(i)]);
    RC_ASSERT(forward.result() == shuffled.result());
  }));
}

TEST_CASE("where a token's rows lie in memory never changes a combined bit") {
  CHECK(rc::check(
      [](std::vector<std::uint32_t> const& row_bits, std::vector<std::uint32_t> const& weight_bits, unsigned seed) {
        std::size_t const count = std::min(row_bits.size(), weight_bits.size());
        std::vector<std::int64_t> const place = shuffled_indices(count, seed);
        std::vector<float> rows(count);
        std::vector<float> moved(count);
        std::vector<float> weights(count);
        std::vector<std::int64_t> identity(count);
        std::iota(identity.begin(), identity.end(), 0);
        for (std::size_t i = 0; i < count; ++i) {
          rows[i] = float_of(row_bits[i] * 2654435761u);
          weights[i] = float_of(weight_bits[i] * 2246822519u);
          moved[static_cast<std::size_t>(place[i])] = rows[i];
        }
        auto const size = static_cast<std::int64_t>(count);
        float const here = hd::combine_element(rows.data(), 1, 0, identity.data(), weights.data(), size);
        float const there = hd::combine_element(moved.data(), 1, 0, place.data(), weights.data(), size);
        RC_ASSERT(std::memcmp(&here, &there, sizeof here) == 0);
      }));
}

TEST_CASE("gathering by a permutation and then by its inverse gives the rows back") {
  CHECK(rc::check([](std::vector<std::uint8_t> const& rows, unsigned seed) {
    std::vector<std::int64_t> const map = shuffled_indices(rows.size(), seed);
    std::vector<std::int64_t> inverse(map.size());
    for (std::size_t i = 0; i < map.size(); ++i)
      inverse[static_cast<std::size_t>(map[i])] = static_cast<std::int64_t>(i);
    std::vector<std::uint8_t> there(rows.size());
    std::vector<std::uint8_t> back(rows.size());
    auto const count = static_cast<std::int64_t>(rows.size());
    for (std::int64_t i = 0; i < count; ++i) hd::gather_word(rows.data(), 1, map.data(), i, 0, there.data());
    for (std::int64_t i = 0; i < count; ++i) hd::gather_word(there.data(), 1, inverse.data(), i, 0, back.data());
    RC_ASSERT(back == rows);
  }));
}
