// SPDX-License-Identifier: Apache-2.0
// The work items of both backends: combine_element (a thread), combine_row (a CPU loop), gather_word, gather_row.
//
// Worked example: rows 10 and 20 with weights 0.5 and 0.25 combine to 0 + 5 + 5 = 10. With rows 2^24, 1 and -2^24 of
// weight 1 the slot order decides: (2^24 + 1) - 2^24 = 0, but (2^24 - 2^24) + 1 = 1.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "oracle/combine_oracle.hpp"
#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/gather_step.hpp"
#include "switchyard/hd/philox.hpp"

namespace hd = switchyard::hd;
using switchyard::bf16_t;
using switchyard::f16_t;

namespace {

constexpr std::uint64_t kSeed = 5;
constexpr std::int64_t kRows = 9;

std::uint32_t random_word(std::uint64_t stream, std::uint64_t index) {
  return static_cast<std::uint32_t>(hd::philox_bits(kSeed, stream, index) >> 16);
}

template <typename T>
T random_value(std::uint64_t index);
template <>
float random_value<float>(std::uint64_t index) {
  // Exponents in [2^-20, 2^20]: sums of a few such numbers depend on their order.
  std::uint32_t const random = random_word(1, index);
  return hd::bits_to<float>((random & 0x807fffffu) | ((107 + (random >> 23) % 41) << 23));
}
template <>
bf16_t random_value<bf16_t>(std::uint64_t index) {
  return hd::round_to_bf16(random_value<float>(index));
}
template <>
f16_t random_value<f16_t>(std::uint64_t index) {
  return f16_t{static_cast<std::uint16_t>(random_word(1, index))};  // every pattern, infinities and NaNs included
}

template <typename T>
std::uint32_t bits_of(T value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

/// Combines with both forms and with the oracle, and requires the same bits of all three.
template <typename T>
void check_combine(std::int64_t columns, std::vector<std::int64_t> const& token_rows,
                   std::vector<float> const& weights) {
  std::int64_t const stride = columns + 3;  // the padding must not be touched
  std::vector<T> rows(static_cast<std::size_t>(kRows * stride));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = random_value<T>(i);
  std::vector<T> output(static_cast<std::size_t>(columns) + 1, random_value<T>(12345));
  T const poison = output.back();
  auto const count = static_cast<std::int64_t>(token_rows.size());
  hd::combine_row(rows.data(), stride, columns, token_rows.data(), weights.data(), count, output.data());
  REQUIRE(bits_of(output.back()) == bits_of(poison));
  for (std::int64_t c = 0; c < columns; ++c) {
    T const element = hd::combine_element(rows.data(), stride, c, token_rows.data(), weights.data(), count);
    std::vector<float> terms;
    std::vector<float> term_weights;
    for (std::size_t slot = 0; slot < token_rows.size(); ++slot) {
      if (token_rows[slot] < 0) continue;
      terms.push_back(hd::widen(rows[static_cast<std::size_t>(token_rows[slot] * stride + c)]));
      term_weights.push_back(weights[slot]);
    }
    CAPTURE(c);
    CAPTURE(kSeed);
    REQUIRE(bits_of(output[static_cast<std::size_t>(c)]) == bits_of(element));
    REQUIRE(bits_of(element) == bits_of(hd::narrow<T>(oracle::combine_unrounded(terms, term_weights))));
  }
}

float combine_one(std::vector<float> const& values, std::vector<float> const& weights) {
  std::vector<std::int64_t> rows(values.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  return hd::combine_element(values.data(), 1, 0, rows.data(), weights.data(), static_cast<std::int64_t>(rows.size()));
}

}  // namespace

TEST_CASE("combine: worked examples") {
  CHECK(combine_one({10.0f, 20.0f}, {0.5f, 0.25f}) == 10.0f);
  CHECK(combine_one({0x1p24f, 1.0f, -0x1p24f}, {1.0f, 1.0f, 1.0f}) == 0.0f);
  CHECK(combine_one({0x1p24f, -0x1p24f, 1.0f}, {1.0f, 1.0f, 1.0f}) == 1.0f);
}

TEST_CASE("combine: a token without rows gives +0, -0 terms give +0, NaN is canonical") {
  CHECK(bits_of(combine_one({}, {})) == 0u);
  CHECK(bits_of(combine_one({-0.0f, -0.0f}, {1.0f, 1.0f})) == 0u);
  CHECK(bits_of(combine_one({INFINITY, -INFINITY}, {1.0f, 1.0f})) == 0x7fffffffu);
  CHECK(bits_of(combine_one({INFINITY}, {0.0f})) == 0x7fffffffu);
  CHECK(bits_of(combine_one({hd::bits_to<float>(std::uint32_t{0xffc00123})}, {1.0f})) == 0x7fffffffu);
  CHECK(bits_of(combine_one({0x1p-149f}, {1.0f})) == 1u);
  CHECK(bits_of(combine_one({0x1p-149f}, {0.5f})) == 0u);  // a tie, to even
}

TEST_CASE("combine: element, row and oracle agree in bits, all sizes and dropped slots") {
  std::vector<std::vector<std::int64_t>> const routes = {
      {}, {4}, {-1}, {8, 0}, {3, -1, 3, 5}, {-1, -1}, {7, 6, 5, 4, 3, 2, 1, 0}};
  for (std::int64_t const columns : {0, 1, 31, 32, 33, 511, 512, 513, 1027}) {
    for (auto const& token_rows : routes) {
      std::vector<float> weights(token_rows.size());
      for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = random_value<float>(900000 + i);
      CAPTURE(columns);
      CAPTURE(token_rows.size());
      check_combine<float>(columns, token_rows, weights);
      check_combine<bf16_t>(columns, token_rows, weights);
      check_combine<f16_t>(columns, token_rows, weights);
    }
  }
}

TEST_CASE("gather: rows move bit for bit, negative entries write zeros") {
  std::vector<std::int64_t> const map = {3, 0, -1, 3, 1};
  for (std::int64_t const words : {0, 1, 7, 33}) {
    std::vector<std::uint32_t> input(static_cast<std::size_t>(4 * words));
    for (std::size_t i = 0; i < input.size(); ++i) input[i] = 0x7f800001u + static_cast<std::uint32_t>(i);  // NaNs
    std::vector<std::uint32_t> by_word(map.size() * static_cast<std::size_t>(words), 0xdeadbeef);
    std::vector<std::uint32_t> by_row = by_word;
    for (std::int64_t row = 0; row < 5; ++row) {
      for (std::int64_t word = 0; word < words; ++word)
        hd::gather_word(input.data(), words, map.data(), row, word, by_word.data());
      hd::gather_row(reinterpret_cast<std::byte const*>(input.data()), words * 4, map.data(), row,
                     reinterpret_cast<std::byte*>(by_row.data()));
    }
    CHECK(by_word == by_row);
    for (std::size_t i = 0; i < by_row.size(); ++i) {
      std::size_t const row = i / static_cast<std::size_t>(words);
      std::size_t const column = i % static_cast<std::size_t>(words);
      std::uint32_t const expected = map[row] < 0 ? 0u : input[static_cast<std::size_t>(map[row] * words) + column];
      REQUIRE(by_row[i] == expected);
    }
  }
}
