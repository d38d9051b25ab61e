// SPDX-License-Identifier: Apache-2.0
// ExactSum against a big-integer oracle that shares no code with it.
//
// Worked example, fp32: 2^100 * 2^100 + 1.5 * 2.5 - 2^100 * 2^100. In fp32 and in fp64 the middle term is lost; exactly
// the sum is 3.75 and stays 3.75 in fp32, bf16 (0x4070) and fp16 (0x4380). Ties, bf16: 1 * 1 + 2^-8 lies halfway
// between 1 (0x3f80, even) and 1 + 2^-7 (0x3f81): 0x3f80. One more 2^-149 * 2^-133, 282 binades below: 0x3f81.
#include <doctest/doctest.h>

#include <cstring>

#include "oracle/big_integer.hpp"
#include "support/float_codes.hpp"
#include "switchyard/hd/exact_sum.hpp"

namespace {

using switchyard::bf16_t;
using switchyard::f16_t;
namespace hd = switchyard::hd;
using support::FloatType;
using support::Random;

template <typename Weight, typename Value>
struct Terms {
  std::vector<Weight> weights;
  std::vector<Value> values;
  void add(Weight weight, Value value) {
    weights.push_back(weight);
    values.push_back(value);
  }
};

template <typename Out, typename Sum>
std::uint64_t rounded(Sum const& sum) {
  return oracle::code_of(sum.template round<Out>());
}

/// Compares all four roundings of the sum of `terms` with the oracle's.
template <typename Weight, typename Value>
void check_against_oracle(Terms<Weight, Value> const& terms) {
  hd::ExactSum<Weight, Value> sum;
  oracle::ExactSumOracle expected(FloatType<Weight>::kFormat, FloatType<Value>::kFormat);
  for (std::size_t i = 0; i < terms.weights.size(); ++i) {
    sum.add_product(terms.weights[i], terms.values[i]);
    expected.add_product(oracle::code_of(terms.weights[i]), oracle::code_of(terms.values[i]));
  }
  CHECK(rounded<float>(sum) == expected.round(oracle::kFormatF32));
  CHECK(rounded<double>(sum) == expected.round(oracle::kFormatF64));
  CHECK(rounded<bf16_t>(sum) == expected.round(oracle::kFormatBf16));
  CHECK(rounded<f16_t>(sum) == expected.round(oracle::kFormatF16));
}

/// The value of bits at every exponent that a type has: 1 and its neighbours, shifted.
template <typename T>
T power_of_two(int exponent) {
  oracle::FloatFormat const f = FloatType<T>::kFormat;
  int const field = exponent + f.bias();
  if (field > 0) return support::from_code<T>(static_cast<std::uint64_t>(field) << f.fraction_bits);
  return support::from_code<T>(std::uint64_t{1} << (f.fraction_bits + field - 1));
}

}  // namespace

TEST_CASE("worked example: the middle term survives") {
  Terms<float, float> terms;
  terms.add(0x1p100f, 0x1p100f);
  terms.add(1.5f, 2.5f);
  terms.add(-0x1p100f, 0x1p100f);
  hd::ExactSum<float, float> sum;
  for (std::size_t i = 0; i < 3; ++i) sum.add_product(terms.weights[i], terms.values[i]);
  CHECK(sum.round<float>() == 3.75f);
  CHECK(sum.round<double>() == 3.75);
  CHECK(sum.round<bf16_t>().bits == 0x4070);
  CHECK(sum.round<f16_t>().bits == 0x4380);
  check_against_oracle(terms);
}

TEST_CASE("worked example: a tie is broken by a term 282 binades below") {
  hd::ExactSum<float, bf16_t> sum;
  sum.add_product(1.0f, bf16_t{0x3f80});
  sum.add_product(0x1p-8f, bf16_t{0x3f80});
  CHECK(sum.round<bf16_t>().bits == 0x3f80);
  sum.add_product(0x1p-149f, bf16_t{0x0001});
  CHECK(sum.round<bf16_t>().bits == 0x3f81);
  sum.add_product(0x1p-149f, bf16_t{0x8002});
  CHECK(sum.round<bf16_t>().bits == 0x3f80);
}

TEST_CASE("a zero sum is +0, a nonzero one that rounds to zero keeps its sign") {
  hd::ExactSum<float, float> sum;
  CHECK(rounded<float>(sum) == 0);
  sum.add_product(-1.0f, 0.0f);
  CHECK(rounded<float>(sum) == 0);
  sum.add_product(0x1p-149f, -0x1p-149f);
  CHECK(rounded<float>(sum) == 0x80000000u);
  CHECK(rounded<double>(sum) == oracle::code_of(-0x1p-298));
  sum.add_product(0x1p-149f, 0x1p-149f);
  CHECK(rounded<float>(sum) == 0);
}

TEST_CASE("rounding of a double agrees with the oracle for all formats") {
  Random random(11);
  std::vector<double> values = support::special_values<double>();
  for (int i = 0; i < 3000; ++i) values.push_back(support::random_value<double>(random, 1023 + 140, 320));
  // Halfway between two neighbours of each narrow type, and next to it.
  for (std::uint64_t code = 0; code < 0x7f80; code += 97)
    for (double step : {0.5, 0.5 - 0x1p-30, 0.5 + 0x1p-30}) {
      auto const low = static_cast<double>(support::from_code<float>(code << 16));
      auto const high = static_cast<double>(support::from_code<float>((code + 1) << 16));
      values.push_back(low + (high - low) * step);
    }
  for (double value : values) {
    oracle::ExactSumOracle expected(oracle::kFormatF64, oracle::kFormatF32);
    expected.add_product(oracle::code_of(value), oracle::code_of(1.0f));
    CAPTURE(value);
    if (value == 0.0) continue;  // narrow_double keeps -0, which is no sum
    CHECK(oracle::code_of(hd::narrow_double<float>(value)) == expected.round(oracle::kFormatF32));
    CHECK(oracle::code_of(hd::narrow_double<bf16_t>(value)) == expected.round(oracle::kFormatBf16));
    CHECK(oracle::code_of(hd::narrow_double<f16_t>(value)) == expected.round(oracle::kFormatF16));
    CHECK(oracle::code_of(hd::narrow_double<double>(value)) == expected.round(oracle::kFormatF64));
  }
  CHECK(hd::narrow_double<bf16_t>(-0.0).bits == 0x8000);
  CHECK(hd::narrow_double<f16_t>(-0.0).bits == 0x8000);
}

#define RECIPE_TYPE_PAIRS                                                                               \
  std::pair<float, float>, std::pair<float, bf16_t>, std::pair<float, f16_t>, std::pair<double, float>, \
      std::pair<double, bf16_t>, std::pair<double, f16_t>

TEST_CASE_TEMPLATE("all pairs of special values, alone and on top of one", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  for (Weight weight : support::special_values<Weight>())
    for (Value value : support::special_values<Value>()) {
      CAPTURE(oracle::code_of(weight));
      CAPTURE(oracle::code_of(value));
      Terms<Weight, Value> terms;
      terms.add(weight, value);
      check_against_oracle(terms);
      terms.add(Weight{1}, power_of_two<Value>(0));
      check_against_oracle(terms);
    }
}

TEST_CASE_TEMPLATE("sums of two special products", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  // infinities of both signs, overflow that cancels, NaN that stays
  Weight const huge = support::from_code<Weight>(FloatType<Weight>::kFormat.infinity() - 1);
  std::vector<Weight> const weights = {Weight{1}, Weight{-1}, huge, -huge};
  for (Weight first : weights)
    for (Weight second : weights)
      for (Value a : support::special_values<Value>())
        for (Value b : support::special_values<Value>()) {
          Terms<Weight, Value> terms;
          terms.add(first, a);
          terms.add(second, b);
          hd::ExactSum<Weight, Value> sum;
          oracle::ExactSumOracle expected(FloatType<Weight>::kFormat, FloatType<Value>::kFormat);
          for (std::size_t i = 0; i < 2; ++i) {
            sum.add_product(terms.weights[i], terms.values[i]);
            expected.add_product(oracle::code_of(terms.weights[i]), oracle::code_of(terms.values[i]));
          }
          REQUIRE(rounded<Value>(sum) == expected.round(FloatType<Value>::kFormat));
        }
}

TEST_CASE("every bf16 value times selected weights") {
  std::vector<float> weights = {0x1p-149f, 0x1.8p-140f,   0x1.fffffep-127f, 0x1p-126f,      0x1.99999ap-4f,
                                1.0f,      0x1.000002p0f, -0x1.555556p-2f,  0x1.fffffep127f};
  for (float weight : weights)
    for (std::uint64_t code = 0; code < 0x10000; code += 1) {
      hd::ExactSum<float, bf16_t> sum;
      auto const value = support::from_code<bf16_t>(code);
      sum.add_product(weight, value);
      // One product of a float and a bf16 value is exact in fp64: plain C++ is the oracle of this sweep.
      double const product = static_cast<double>(weight) * static_cast<double>(support::from_code<float>(code << 16));
      double const expected = product == 0.0 ? 0.0 : product;
      bool const nan = expected != expected;
      if (nan) {
        REQUIRE(rounded<double>(sum) == oracle::kFormatF64.nan());
      } else {
        REQUIRE(rounded<double>(sum) == oracle::code_of(expected));
        REQUIRE(rounded<float>(sum) == oracle::code_of(static_cast<float>(expected)));
      }
    }
}

TEST_CASE_TEMPLATE("halfway cases and their neighbours in every binade of the result", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  oracle::FloatFormat const f = FloatType<Value>::kFormat;
  Weight const least = support::from_code<Weight>(1);
  Value const tiny = support::from_code<Value>(1);
  for (std::uint64_t code = 1; code < f.infinity(); code += (std::uint64_t{1} << f.fraction_bits) / 2 + 1) {
    // |code| plus half a unit in the last place = 1 * code + 1/2 * (next - code), the difference being a power of two.
    Value const low = support::from_code<Value>(code);
    auto const binade = static_cast<int>(code >> f.fraction_bits);
    Value const unit = power_of_two<Value>(std::max(binade, 1) - f.bias() - f.fraction_bits);
    for (Weight tilt : {Weight{0}, least, -least}) {
      Terms<Weight, Value> terms;
      terms.add(Weight{1}, low);
      terms.add(Weight{0.5}, unit);
      terms.add(tilt, tiny);
      CAPTURE(code);
      check_against_oracle(terms);
    }
  }
}

TEST_CASE_TEMPLATE("overflow boundary: largest number plus just below, exactly, just above half a unit", Pair,
                   RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  oracle::FloatFormat const f = FloatType<Value>::kFormat;
  Value const largest = support::from_code<Value>(f.infinity() - 1);
  Value const unit = power_of_two<Value>(f.bias() - f.fraction_bits);
  Weight const least = support::from_code<Weight>(1);
  for (Weight tilt : {Weight{0}, least, -least})
    for (Weight sign : {Weight{1}, Weight{-1}}) {
      Terms<Weight, Value> terms;
      terms.add(sign, largest);
      terms.add(sign * Weight{0.5}, unit);
      terms.add(sign * tilt, support::from_code<Value>(1));
      check_against_oracle(terms);
      terms.add(-sign * Weight{2}, largest);  // and back into range, beyond what a float could have held
      check_against_oracle(terms);
    }
}

TEST_CASE_TEMPLATE("the largest product fills the top digits, 2^20 times", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  Weight const weight = support::from_code<Weight>(FloatType<Weight>::kFormat.infinity() - 1);
  Value const value = support::from_code<Value>(FloatType<Value>::kFormat.infinity() - 1);
  hd::ExactSum<Weight, Value> sum;
  for (int i = 0; i < 1 << 20; ++i) sum.add_product(-weight, value);
  // Doubling through merges reaches 2^30 terms.
  for (int i = 0; i < 10; ++i) sum.merge(sum.state());
  CHECK(rounded<float>(sum) == (oracle::kFormatF32.infinity() | oracle::kFormatF32.sign()));
  hd::ExactSum<Weight, Value> opposite;
  for (int i = 0; i < 1 << 20; ++i) opposite.add_product(weight, value);
  for (int i = 0; i < 10; ++i) opposite.merge(opposite.state());
  opposite.merge(sum.state());
  CHECK(rounded<float>(opposite) == 0);
  opposite.add_product(Weight{1}, power_of_two<Value>(0));
  CHECK(opposite.template round<float>() == 1.0f);
}

TEST_CASE_TEMPLATE("the state carries special values and survives the wire", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  using Sum = hd::ExactSum<Weight, Value>;
  Value const infinity = support::from_code<Value>(FloatType<Value>::kFormat.infinity());
  Value const nan = support::from_code<Value>(FloatType<Value>::kFormat.infinity() + 1);
  Value const one = power_of_two<Value>(0);
  Sum positive, negative, bad, finite, late;
  positive.add_product(Weight{1}, infinity);
  positive.add_product(Weight{3}, one);
  negative.add_product(Weight{-1}, infinity);
  bad.add_product(Weight{1}, nan);
  finite.add_product(Weight{-1}, one);
  late.add_product(Weight{1}, infinity);  // the finite part of a special sum must not show in its state
  auto const positive_state = positive.state();
  auto const late_state = late.state();
  CHECK(std::memcmp(&positive_state, &late_state, sizeof late_state) == 0);
  CHECK(rounded<Value>(Sum(positive.state())) == FloatType<Value>::kFormat.infinity());
  CHECK(rounded<Value>(Sum(negative.state())) ==
        (FloatType<Value>::kFormat.infinity() | FloatType<Value>::kFormat.sign()));
  CHECK(rounded<Value>(Sum(bad.state())) == FloatType<Value>::kFormat.nan());
  CHECK(rounded<Value>(Sum(finite.state())) == (oracle::code_of(one) | FloatType<Value>::kFormat.sign()));
  positive.merge(finite.state());
  CHECK(rounded<Value>(positive) == FloatType<Value>::kFormat.infinity());
  positive.merge(negative.state());
  CHECK(rounded<Value>(positive) == FloatType<Value>::kFormat.nan());
  auto const both = positive.state();
  auto const nan_state = bad.state();
  CHECK(std::memcmp(&both, &nan_state, sizeof both) == 0);
}

TEST_CASE("states are as small as the types allow") {
  CHECK(sizeof(hd::ExactSumState<float, bf16_t>) == 72);
  CHECK(sizeof(hd::ExactSumState<float, f16_t>) == 44);
  CHECK(sizeof(hd::ExactSumState<float, float>) == 76);
  CHECK(sizeof(hd::ExactSumState<double, float>) == 304);
  CHECK(sizeof(hd::ExactSumState<double, bf16_t>) == 300);
  CHECK(sizeof(hd::ExactSumState<double, f16_t>) == 272);
}
