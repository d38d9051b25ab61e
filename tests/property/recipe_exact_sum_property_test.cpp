// SPDX-License-Identifier: Apache-2.0
// The exact sum as an algebra: random sums of wide exponents and heavy cancellation against the big-integer oracle, and
// equal bits for every order, every merge tree and every partition of the terms over ranks.
//
// Worked example of a partition: the terms 2^60, 1, -2^60 of a token whose experts live on ranks {0, 1, 0}: rank 0
// sends the state of 0, rank 1 that of 1; merged in either order they are the state of 1 that a single rank computes.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "oracle/big_integer.hpp"
#include "support/float_codes.hpp"
#include "switchyard/hd/recipes_exact.hpp"

namespace {

using switchyard::bf16_t;
using switchyard::f16_t;
namespace hd = switchyard::hd;
using support::FloatType;
using support::Random;

#define RECIPE_TYPE_PAIRS                                                                               \
  std::pair<float, float>, std::pair<float, bf16_t>, std::pair<float, f16_t>, std::pair<double, float>, \
      std::pair<double, bf16_t>, std::pair<double, f16_t>

/// One token's terms: row i has the one column values[i].
template <typename Weight, typename Value>
struct Terms {
  std::vector<Weight> weights;
  std::vector<Value> values;
  std::vector<std::int64_t> rows;

  void add(Weight weight, Value value) {
    rows.push_back(count());
    weights.push_back(weight);
    values.push_back(value);
  }
  std::int64_t count() const { return static_cast<std::int64_t>(values.size()); }
};

/// Terms that share a binade, spread over all of them, or cancel pairwise up to a few.
template <typename Weight, typename Value>
Terms<Weight, Value> random_terms(Random& random, int count) {
  Terms<Weight, Value> terms;
  int const kind = static_cast<int>(random() % 4);
  int const weight_bias = FloatType<Weight>::kFormat.bias();
  int const value_bias = FloatType<Value>::kFormat.bias();
  for (int i = 0; i < count; ++i) {
    bool const wide = kind == 1 || (kind == 3 && random() % 4 == 0);
    auto const weight = wide ? support::random_value<Weight>(random, 2 * weight_bias, 2 * weight_bias)
                             : support::random_value<Weight>(random, weight_bias, 3);
    auto const value = wide ? support::random_value<Value>(random, 2 * value_bias, 2 * value_bias)
                            : support::random_value<Value>(random, value_bias + 2, 6);
    terms.add(weight, value);
    if (kind >= 2 && i + 1 < count && random() % 4 != 0) {
      terms.add(-weight, value);
      ++i;
    }
  }
  return terms;
}

template <typename Weight, typename Value>
hd::ExactSum<Weight, Value> sum_of(Terms<Weight, Value> const& terms, std::vector<std::int64_t> const& order) {
  hd::ExactSum<Weight, Value> sum;
  for (std::int64_t i : order) {
    auto const term = static_cast<std::size_t>(i);
    sum.add_product(terms.weights[term], terms.values[term]);
  }
  return sum;
}

template <typename Weight, typename Value>
oracle::ExactSumOracle oracle_of(Terms<Weight, Value> const& terms) {
  oracle::ExactSumOracle expected(FloatType<Weight>::kFormat, FloatType<Value>::kFormat);
  for (std::size_t i = 0; i < terms.values.size(); ++i)
    expected.add_product(oracle::code_of(terms.weights[i]), oracle::code_of(terms.values[i]));
  return expected;
}

template <typename State>
bool equal(State const& a, State const& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

/// Merges states pairwise at random until one is left: a random tree.
template <typename Weight, typename Value>
hd::ExactSumState<Weight, Value> merge_at_random(Random& random, std::vector<hd::ExactSumState<Weight, Value>> states) {
  while (states.size() > 1) {
    std::size_t const left = random() % states.size();
    std::swap(states[left], states.back());
    auto const taken = states.back();
    states.pop_back();
    std::size_t const right = random() % states.size();
    hd::ExactSum<Weight, Value> sum(states[right]);
    sum.merge(taken);
    states[right] = sum.state();
  }
  return states.front();
}

template <typename Out, typename Weight, typename Value>
std::uint64_t wide(Terms<Weight, Value> const& terms) {
  return oracle::code_of(hd::exact_element_wide<Out>(terms.values.data(), 1, 0, terms.rows.data(), terms.weights.data(),
                                                     terms.count(), static_cast<Value const*>(nullptr)));
}

template <typename Out, typename Weight, typename Value>
std::uint64_t fast(Terms<Weight, Value> const& terms) {
  return oracle::code_of(
      hd::exact_element<Out>(terms.values.data(), 1, 0, terms.rows.data(), terms.weights.data(), terms.count()));
}

}  // namespace

TEST_CASE_TEMPLATE("random sums round like the oracle, fast path included", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  std::uint64_t const seed = 20240501;
  Random random(seed);
  for (int round = 0; round < 400; ++round) {
    auto const terms = random_terms<Weight, Value>(random, 1 + static_cast<int>(random() % 24));
    CAPTURE(seed);
    CAPTURE(round);
    auto const expected = oracle_of(terms);
    CHECK(wide<float>(terms) == expected.round(oracle::kFormatF32));
    CHECK(wide<double>(terms) == expected.round(oracle::kFormatF64));
    CHECK(wide<bf16_t>(terms) == expected.round(oracle::kFormatBf16));
    CHECK(wide<f16_t>(terms) == expected.round(oracle::kFormatF16));
    CHECK(fast<float>(terms) == expected.round(oracle::kFormatF32));
    CHECK(fast<bf16_t>(terms) == expected.round(oracle::kFormatBf16));
    CHECK(fast<f16_t>(terms) == expected.round(oracle::kFormatF16));
  }
}

TEST_CASE_TEMPLATE("every order and every merge tree gives the same state", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  CHECK(rc::check("permutations and trees", [](std::uint64_t seed) {
    Random random(seed);
    auto const terms = random_terms<Weight, Value>(random, 1 + static_cast<int>(random() % 40));
    auto order = terms.rows;
    auto const expected = sum_of(terms, order).state();
    for (int shuffle = 0; shuffle < 3; ++shuffle) {
      std::shuffle(order.begin(), order.end(), random);
      RC_ASSERT(equal(sum_of(terms, order).state(), expected));
    }
    std::vector<hd::ExactSumState<Weight, Value>> leaves;
    for (std::size_t begin = 0; begin < order.size();) {
      std::size_t const size = std::min(order.size() - begin, 1 + random() % 5);
      auto const first = order.begin() + static_cast<std::ptrdiff_t>(begin);
      leaves.push_back(sum_of(terms, {first, first + static_cast<std::ptrdiff_t>(size)}).state());
      begin += size;
    }
    RC_ASSERT(equal(merge_at_random(random, leaves), expected));
  }));
}

TEST_CASE_TEMPLATE("any partition over 1, 2, 4 or 8 ranks joins to the bits of one rank", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  CHECK(rc::check("partitions", [](std::uint64_t seed) {
    Random random(seed);
    auto const terms = random_terms<Weight, Value>(random, static_cast<int>(random() % 16));
    auto const shared = support::random_value<Value>(random, FloatType<Value>::kFormat.bias() + 1, 9);
    bool const shared_is_term = random() % 2 == 0;
    Value const* const extra = shared_is_term ? &shared : nullptr;
    auto const expected = oracle::code_of(hd::exact_element_wide<Value>(terms.values.data(), 1, 0, terms.rows.data(),
                                                                        terms.weights.data(), terms.count(), extra));
    for (std::size_t ranks : {1u, 2u, 4u, 8u}) {
      // Each rank sees all slots, with those that live elsewhere marked as dropped.
      std::vector<hd::ExactSumState<Weight, Value>> states;
      std::vector<std::vector<std::int64_t>> rows_of_rank(ranks, std::vector<std::int64_t>(terms.rows.size(), -1));
      for (std::size_t i = 0; i < terms.rows.size(); ++i) rows_of_rank[random() % ranks][i] = terms.rows[i];
      std::vector<std::int64_t> senders;
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        states.push_back(hd::exact_partial_element(terms.values.data(), 1, 0, rows_of_rank[rank].data(),
                                                   terms.weights.data(), terms.count()));
        bool const empty =
            std::all_of(rows_of_rank[rank].begin(), rows_of_rank[rank].end(), [](std::int64_t row) { return row < 0; });
        senders.push_back(empty && random() % 2 == 0 ? -1 : static_cast<std::int64_t>(rank));
      }
      std::shuffle(senders.begin(), senders.end(), random);
      RC_ASSERT(oracle::code_of(hd::exact_join_element<Value>(states.data(), 1, 0, senders.data(),
                                                              static_cast<std::int64_t>(ranks), extra)) == expected);
    }
  }));
}

TEST_CASE_TEMPLATE("sums of 2^20 terms, forwards, backwards and merged", Pair, std::pair<float, bf16_t>,
                   std::pair<double, float>) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  Random random(7);
  hd::ExactSum<Weight, Value> forwards, backwards, low, high;
  oracle::ExactSumOracle expected(FloatType<Weight>::kFormat, FloatType<Value>::kFormat);
  int const count = 1 << 20;
  Terms<Weight, Value> terms;
  for (int i = 0; i < count; ++i)
    terms.add(support::random_value<Weight>(random, FloatType<Weight>::kFormat.bias() + 20, 60),
              support::random_value<Value>(random, FloatType<Value>::kFormat.bias() + 10, 24));
  for (std::size_t i = 0; i < terms.values.size(); ++i) {
    std::size_t const mirrored = terms.values.size() - 1 - i;
    forwards.add_product(terms.weights[i], terms.values[i]);
    backwards.add_product(terms.weights[mirrored], terms.values[mirrored]);
    (i % 3 == 0 ? low : high).add_product(terms.weights[i], terms.values[i]);
    expected.add_product(oracle::code_of(terms.weights[i]), oracle::code_of(terms.values[i]));
  }
  low.merge(high.state());
  CHECK(equal(forwards.state(), backwards.state()));
  CHECK(equal(forwards.state(), low.state()));
  CHECK(oracle::code_of(forwards.template round<float>()) == expected.round(oracle::kFormatF32));
  CHECK(oracle::code_of(forwards.template round<double>()) == expected.round(oracle::kFormatF64));
  CHECK(fast<float>(terms) == expected.round(oracle::kFormatF32));
}

TEST_CASE_TEMPLATE("special values: the fast path and the states agree with the wide accumulator", Pair,
                   RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  auto const weights = support::special_values<Weight>();
  auto const values = support::special_values<Value>();
  Random random(99);
  for (int round = 0; round < 20000; ++round) {
    Terms<Weight, Value> terms;
    for (std::uint64_t i = 0; i < 1 + random() % 3; ++i)
      terms.add(weights[random() % weights.size()], values[random() % values.size()]);
    CAPTURE(round);
    REQUIRE(fast<Value>(terms) == wide<Value>(terms));
    REQUIRE(fast<float>(terms) == wide<float>(terms));
    auto const state = sum_of(terms, terms.rows).state();
    REQUIRE(equal(hd::ExactSum<Weight, Value>(state).state(), state));
  }
}

TEST_CASE_TEMPLATE("near the rounding boundaries of the row dtype the fast path never guesses", Pair,
                   RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  oracle::FloatFormat const f = FloatType<Value>::kFormat;
  Random random(3);
  for (int round = 0; round < 20000; ++round) {
    // value + half of its last place, tilted by terms of 2^-10 to 2^-120 of it, and blurred by a cancelling pair.
    auto const value = support::random_value<Value>(random, f.bias() + 3, 6);
    std::uint64_t const field = (oracle::code_of(value) & (f.sign() - 1)) >> f.fraction_bits;
    auto const power = support::from_code<Value>(field << f.fraction_bits);
    auto const half_unit =
        support::from_code<Weight>(static_cast<std::uint64_t>(FloatType<Weight>::kFormat.bias() - f.fraction_bits - 1)
                                   << FloatType<Weight>::kFormat.fraction_bits);
    Terms<Weight, Value> terms;
    terms.add(Weight{1}, value);
    terms.add(half_unit, power);
    auto const blur = support::random_value<Weight>(random, FloatType<Weight>::kFormat.bias() + 8, 10);
    terms.add(blur, power);
    int const depth = 10 + static_cast<int>(random() % 60);
    terms.add(support::random_value<Weight>(random, FloatType<Weight>::kFormat.bias() - depth, 50), power);
    terms.add(-blur, power);
    CAPTURE(round);
    REQUIRE(fast<Value>(terms) == wide<Value>(terms));
    REQUIRE(fast<float>(terms) == wide<float>(terms));
    REQUIRE(fast<bf16_t>(terms) == wide<bf16_t>(terms));
  }
}

TEST_CASE_TEMPLATE("results among the subnormals of the row dtype", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  oracle::FloatFormat const f = FloatType<Value>::kFormat;
  Random random(17);
  for (int round = 0; round < 20000; ++round) {
    // A code of the two lowest binades plus half a unit, tilted or not.
    auto const code = random() % (std::uint64_t{2} << f.fraction_bits);
    auto const unit = support::from_code<Value>(1);
    Terms<Weight, Value> terms;
    terms.add(Weight{1}, support::from_code<Value>(code));
    if (random() % 4 != 0) terms.add(Weight{0.5}, unit);
    int const depth = 1 + static_cast<int>(random() % 60);
    if (random() % 4 != 0)
      terms.add(support::random_value<Weight>(random, FloatType<Weight>::kFormat.bias() - depth, 30), unit);
    CAPTURE(round);
    REQUIRE(fast<Value>(terms) == wide<Value>(terms));
    REQUIRE(fast<float>(terms) == wide<float>(terms));
    REQUIRE(fast<f16_t>(terms) == wide<f16_t>(terms));
  }
}

TEST_CASE_TEMPLATE("carries resolved after every third addition change nothing", Pair, RECIPE_TYPE_PAIRS) {
  using Weight = typename Pair::first_type;
  using Value = typename Pair::second_type;
  Random random(23);
  for (int round = 0; round < 500; ++round) {
    auto const terms = random_terms<Weight, Value>(random, 30);
    hd::ExactSum<Weight, Value, 3> often;
    for (std::size_t i = 0; i < terms.values.size(); ++i) often.add_product(terms.weights[i], terms.values[i]);
    for (int i = 0; i < 4; ++i) often.merge(sum_of(terms, terms.rows).state());
    auto seldom = sum_of(terms, terms.rows);
    for (int i = 0; i < 4; ++i) seldom.merge(sum_of(terms, terms.rows).state());
    REQUIRE(equal(often.state(), seldom.state()));
  }
}

TEST_CASE("exact_row equals exact_element in every column, with and without a shared expert") {
  Random random(5);
  for (std::int64_t columns :
       {std::int64_t{1}, std::int64_t{3}, std::int64_t{255}, std::int64_t{257}, std::int64_t{600}}) {
    std::int64_t const stride = columns + 3;
    std::vector<bf16_t> rows(static_cast<std::size_t>(9 * stride));
    for (bf16_t& value : rows) value = support::random_value<bf16_t>(random, 130, random() % 50 == 0 ? 130 : 12);
    std::vector<std::int64_t> const token_rows = {4, 0, -1, 7, 8};
    std::vector<float> const weights = {0.3f, -0.3f, 1e9f, 0x1p-140f, 0.7f};
    for (bool with_shared : {false, true}) {
      bf16_t const* const shared = with_shared ? rows.data() + 5 * stride : nullptr;
      std::vector<bf16_t> output(static_cast<std::size_t>(columns) + 1, bf16_t{0xdead});
      hd::exact_row(rows.data(), stride, columns, token_rows.data(), weights.data(), 5, output.data(), shared);
      for (std::int64_t c = 0; c < columns; ++c) {
        bf16_t const expected = hd::exact_element_wide<bf16_t>(
            rows.data(), stride, c, token_rows.data(), weights.data(), 5, shared == nullptr ? nullptr : shared + c);
        REQUIRE(output[static_cast<std::size_t>(c)].bits == expected.bits);
      }
      REQUIRE(output.back().bits == 0xdead);
    }
  }
}
