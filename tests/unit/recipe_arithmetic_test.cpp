// SPDX-License-Identifier: Apache-2.0
// The work items of every recipe against plain loops, on data whose bits depend on the recipe; and the TP tree.
//
// Worked example, bf16 rows 256, 1, -256 in slots 0, 1, 2 with weights 1, experts 2, 0, 1; rank 0 holds experts 0 and
// 1, rank 1 expert 2:
//   source_slot_order    (256 + 1) - 256       = 1 in fp32
//   rank_partial, bf16   (1 - 256) = -255 on rank 0, 256 on rank 1: -255 + 256 = 1
// and with 257 = round(256 + 1) to bf16 = 256 (tie to even) inside one rank the wire rounding shows: experts 0, 1
// holding 256 and 1 on rank 0, -256 on rank 1: bf16(257) = 256, 256 - 256 = 0, while fp32 partials give 1.
#include <doctest/doctest.h>

#include <array>
#include <map>

#include "oracle/recipe_oracle.hpp"
#include "support/float_codes.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/recipes_exact.hpp"
#include "switchyard/hd/tree_sum.hpp"

namespace {

using switchyard::bf16_t;
using switchyard::f16_t;
namespace hd = switchyard::hd;
using support::FloatType;
using support::Random;

constexpr int kRanks = 4;
constexpr int kExpertsPerRank = 4;
constexpr std::int64_t kColumns = 5;

/// One token: its expert rows, weights, and where each slot's expert lives.
template <typename T>
struct Token {
  std::vector<T> rows;                 ///< [K, kColumns]
  std::vector<double> weights;         ///< [K]
  std::vector<oracle::RecipeTerm> at;  ///< [K] slot, expert, rank, local expert; row and weight unset
};

/// K terms: pairs of large rows that cancel, exactly or up to the last bits of their weights, and between them rows so
/// small that fp32 keeps only a part of them while a large one is in the sum.
template <typename T>
Token<T> random_token(Random& random, int slots) {
  Token<T> token;
  int const bias = FloatType<T>::kFormat.bias();
  for (int slot = 0; slot < slots; ++slot) {
    oracle::RecipeTerm term;
    term.slot = slot;
    term.expert = static_cast<int>(random() % (kRanks * kExpertsPerRank));
    term.rank = term.expert / kExpertsPerRank;
    term.local_expert = term.expert % kExpertsPerRank;
    token.at.push_back(term);
    bool const cancels = slot % 3 == 2;
    double const drawn = std::ldexp(static_cast<double>(random() >> 11), -54) + 0.25;
    double const tilt = random() % 2 == 0 ? 1.0 : 1.0 + std::ldexp(drawn, -20);
    token.weights.push_back(cancels ? token.weights[token.weights.size() - 2] * tilt : drawn);
    for (std::int64_t c = 0; c < kColumns; ++c) {
      std::size_t const opposite = token.rows.size() - 2 * kColumns;
      token.rows.push_back(cancels ? support::negated(token.rows[opposite])
                                   : support::random_value<T>(random, bias + (slot % 3 == 0 ? 14 : -3), 4));
    }
  }
  return token;
}

template <typename T>
oracle::RecipeTerms terms_of(Token<T> const& token, std::int64_t column, bool fp32_weights) {
  oracle::RecipeTerms terms = token.at;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    T const value = token.rows[i * kColumns + static_cast<std::size_t>(column)];
    terms[i].row = static_cast<float>(oracle::double_of(FloatType<T>::kFormat, oracle::code_of(value)));
    terms[i].weight = fp32_weights ? static_cast<double>(static_cast<float>(token.weights[i])) : token.weights[i];
  }
  return terms;
}

/// The row list of an order, with the weights beside it.
struct RowList {
  std::vector<std::int64_t> rows;
  std::vector<float> weights;
  std::vector<double> wide_weights;

  template <typename T>
  RowList(Token<T> const& token, oracle::RecipeTerms const& order) {
    for (oracle::RecipeTerm const& term : order) {
      auto const slot = static_cast<std::size_t>(term.slot);
      rows.push_back(term.slot);
      weights.push_back(static_cast<float>(token.weights[slot]));
      wide_weights.push_back(token.weights[slot]);
    }
  }
  std::int64_t count() const { return static_cast<std::int64_t>(rows.size()); }
};

template <typename T>
std::uint64_t source_sum(Token<T> const& token, oracle::RecipeTerms const& order, std::int64_t column) {
  RowList const list(token, order);
  return oracle::code_of(
      hd::combine_element(token.rows.data(), kColumns, column, list.rows.data(), list.weights.data(), list.count()));
}

template <typename Wire, typename T>
std::uint64_t rank_partial(Token<T> const& token, std::int64_t column) {
  std::vector<Wire> partials;
  std::vector<std::int64_t> order;
  for (auto const& [rank, own] : oracle::by_rank(token.at)) {
    RowList const list(token, own);
    order.push_back(static_cast<std::int64_t>(partials.size()));
    partials.push_back(hd::rank_partial_element<Wire>(token.rows.data(), kColumns, column, list.rows.data(),
                                                      list.weights.data(), list.count()));
  }
  return oracle::code_of(
      hd::join_partials_element<T>(partials.data(), 1, 0, order.data(), static_cast<std::int64_t>(order.size())));
}

template <typename T>
std::uint64_t promoted(Token<T> const& token, std::int64_t column) {
  std::vector<double> partials;
  std::vector<std::int64_t> order;
  for (auto const& [rank, own] : oracle::by_rank(token.at)) {
    RowList const list(token, own);
    order.push_back(static_cast<std::int64_t>(partials.size()));
    partials.push_back(hd::promoted_partial_element(token.rows.data(), kColumns, column, list.rows.data(),
                                                    list.wide_weights.data(), list.count()));
  }
  return oracle::code_of(
      hd::join_promoted_element<T>(partials.data(), 1, 0, order.data(), static_cast<std::int64_t>(order.size())));
}

/// Every recipe's result for one element, library and oracle side by side.
struct Results {
  std::map<std::string, std::uint64_t> library;
  std::map<std::string, std::uint64_t> oracle;
};

template <typename T>
Results run_all(Token<T> const& token, std::int64_t column) {
  oracle::FloatFormat const row = FloatType<T>::kFormat;
  oracle::RecipeTerms const terms = terms_of(token, column, true);
  RowList const by_slot(token, oracle::by_slot(token.at));
  Results r;
  r.library["source_slot_order"] = source_sum(token, oracle::by_slot(token.at), column);
  r.oracle["source_slot_order"] = oracle::source_slot_order(terms, row);
  r.library["source_expert_order"] = source_sum(token, oracle::by_expert(token.at), column);
  r.oracle["source_expert_order"] = oracle::source_expert_order(terms, row);
  r.library["rank_partial"] = rank_partial<T>(token, column);
  r.oracle["rank_partial"] = oracle::rank_partial(terms, row, row);
  r.library["rank_partial_f32"] = rank_partial<float>(token, column);
  r.oracle["rank_partial_f32"] = oracle::rank_partial(terms, row, oracle::kFormatF32);
  r.library["rank_partial_bf16"] = rank_partial<bf16_t>(token, column);
  r.oracle["rank_partial_bf16"] = oracle::rank_partial(terms, row, oracle::kFormatBf16);
  r.library["megatron_allgather, fp64"] = promoted(token, column);
  r.oracle["megatron_allgather, fp64"] = oracle::megatron_allgather_fp64(terms_of(token, column, false), row);
  r.library["megablocks"] = oracle::code_of(hd::megablocks_element(
      token.rows.data(), kColumns, column, by_slot.rows.data(), by_slot.weights.data(), by_slot.count()));
  r.oracle["megablocks"] = oracle::megablocks(terms, row);
  r.library["exact"] = oracle::code_of(hd::exact_element<T>(token.rows.data(), kColumns, column, by_slot.rows.data(),
                                                            by_slot.weights.data(), by_slot.count()));
  r.oracle["exact"] = oracle::exact(terms, row);
  return r;
}

/// Pairs of recipes that are the same arithmetic for rows of T (docs/determinism/recipes.md lists them).
template <typename T>
bool same_arithmetic(std::string const& a, std::string const& b) {
  std::string const native = std::string("rank_partial_") + FloatType<T>::kName;
  auto const is = [&](char const* x, std::string const& y) { return (a == x && b == y) || (b == x && a == y); };
  bool const fp32_rows = native == "rank_partial_f32";
  return is("rank_partial", native) || (fp32_rows && is("megablocks", "source_slot_order"));
}

}  // namespace

TEST_CASE("worked example: where the partial is rounded decides") {
  bf16_t const rows[] = {{0x4380}, {0x3f80}, {0xc380}};  // 256, 1, -256
  std::int64_t const on_rank0[] = {0, 1};
  std::int64_t const on_rank1[] = {2};
  std::int64_t const ranks[] = {0, 1};
  float const ones[] = {1.0f, 1.0f};
  bf16_t const narrow[] = {hd::rank_partial_element<bf16_t>(rows, 1, 0, on_rank0, ones, 2),
                           hd::rank_partial_element<bf16_t>(rows, 1, 0, on_rank1, ones, 1)};
  CHECK(narrow[0].bits == 0x4380);
  CHECK(hd::join_partials_element<bf16_t>(narrow, 1, 0, ranks, 2).bits == 0);
  float const wide[] = {hd::rank_partial_element<float>(rows, 1, 0, on_rank0, ones, 2),
                        hd::rank_partial_element<float>(rows, 1, 0, on_rank1, ones, 1)};
  CHECK(wide[0] == 257.0f);
  CHECK(hd::join_partials_element<bf16_t>(wide, 1, 0, ranks, 2).bits == 0x3f80);
}

TEST_CASE_TEMPLATE("every recipe equals its plain loop, and no two recipes are the same", T, float, bf16_t, f16_t) {
  std::uint64_t const seed = 4242;
  Random random(seed);
  std::map<std::pair<std::string, std::string>, int> differences;
  for (int round = 0; round < 150; ++round) {
    Token<T> const token = random_token<T>(random, static_cast<int>(random() % 12));
    for (std::int64_t column = 0; column < kColumns; ++column) {
      Results const results = run_all(token, column);
      for (auto const& [name, code] : results.library) {
        CAPTURE(seed);
        CAPTURE(round);
        CAPTURE(name);
        CHECK(code == results.oracle.at(name));
        for (auto const& [other, other_code] : results.library)
          differences[std::make_pair(name, other)] += code != other_code ? 1 : 0;
      }
    }
  }
  for (auto const& [pair, count] : differences) {
    CAPTURE(pair.first);
    CAPTURE(pair.second);
    bool const same = pair.first == pair.second || same_arithmetic<T>(pair.first, pair.second);
    if (same) {
      CHECK(count == 0);
    } else {
      CHECK(count > 0);
    }
  }
}

TEST_CASE_TEMPLATE("one swapped addition shows in every ordered recipe and not in the exact one", T, float, bf16_t,
                   f16_t) {
  Random random(77);
  std::array<int, 4> shown{};
  for (int round = 0; round < 300; ++round) {
    Token<T> const token = random_token<T>(random, 9);
    Token<T> swapped = token;
    std::swap(swapped.at[2].slot, swapped.at[3].slot);  // the last additions of a cancelling pair
    std::swap(swapped.at[2].expert, swapped.at[3].expert);
    std::swap(swapped.at[2].rank, swapped.at[3].rank);
    std::swap(swapped.at[2].local_expert, swapped.at[3].local_expert);
    oracle::FloatFormat const row = FloatType<T>::kFormat;
    oracle::RecipeTerms const mutant = terms_of(swapped, 0, true);
    Results const results = run_all(token, 0);
    shown[0] += results.library.at("source_slot_order") != oracle::source_slot_order(mutant, row);
    shown[1] += results.library.at("source_expert_order") != oracle::source_expert_order(mutant, row);
    shown[2] += results.library.at("rank_partial_f32") != oracle::rank_partial(mutant, row, oracle::kFormatF32);
    shown[3] += results.library.at("megablocks") != oracle::megablocks(mutant, row);
    REQUIRE(results.library.at("exact") == oracle::exact(mutant, row));
  }
  for (int count : shown) CHECK(count > 0);
}

TEST_CASE("megatron_allgather with fp32 weights is rank_partial with fp32 partials") {
  Random random(1);
  for (int round = 0; round < 50; ++round) {
    Token<bf16_t> const token = random_token<bf16_t>(random, 8);
    oracle::RecipeTerms const terms = terms_of(token, 0, true);
    // Summing over all ranks, those without a row included, starts and stays at +0 where they are.
    float volatile acc = 0.0f;
    auto const ranks = oracle::by_rank(terms);
    for (int rank = 0; rank < kRanks; ++rank)
      acc = acc + (ranks.count(rank) != 0 ? oracle::sum_in_fp32(ranks.at(rank)) : 0.0f);
    CHECK(rank_partial<float>(token, 0) == oracle::code_nearest_to(oracle::kFormatBf16, static_cast<double>(acc)));
  }
}

TEST_CASE_TEMPLATE("the row form equals the element form for every step", T, float, bf16_t, f16_t) {
  Random random(13);
  for (std::int64_t columns : {std::int64_t{1}, std::int64_t{33}, hd::kCombineTile + 1}) {
    std::vector<T> rows(static_cast<std::size_t>(6 * columns));
    for (T& value : rows) value = support::random_value<T>(random, FloatType<T>::kFormat.bias() + 6, 12);
    std::vector<std::int64_t> const ids = {5, -1, 0, 2};
    std::vector<float> const weights = {0.7f, 9.0f, -0.3f, 0.11f};
    std::vector<double> const wide = {0.7, 9.0, -0.3, 0.11};
    std::vector<T> products(static_cast<std::size_t>(columns));
    std::vector<bf16_t> partial(static_cast<std::size_t>(columns));
    std::vector<T> joined(static_cast<std::size_t>(columns));
    std::vector<double> fp64(static_cast<std::size_t>(columns));
    hd::combine_row<T, T, hd::RowProduct>(rows.data(), columns, columns, ids.data(), weights.data(), 4,
                                          products.data());
    hd::combine_row(rows.data(), columns, columns, ids.data(), weights.data(), 4, partial.data());
    hd::combine_row<T, T, hd::JoinPartials<float>>(rows.data(), columns, columns, ids.data(), nullptr, 4,
                                                   joined.data());
    hd::combine_row<T, double, hd::Fp64Product>(rows.data(), columns, columns, ids.data(), wide.data(), 4, fp64.data());
    for (std::int64_t c = 0; c < columns; ++c) {
      auto const i = static_cast<std::size_t>(c);
      REQUIRE(oracle::code_of(products[i]) ==
              oracle::code_of(hd::megablocks_element(rows.data(), columns, c, ids.data(), weights.data(), 4)));
      REQUIRE(oracle::code_of(partial[i]) == oracle::code_of(hd::rank_partial_element<bf16_t>(
                                                 rows.data(), columns, c, ids.data(), weights.data(), 4)));
      REQUIRE(oracle::code_of(joined[i]) ==
              oracle::code_of(hd::join_partials_element<T>(rows.data(), columns, c, ids.data(), 4)));
      REQUIRE(oracle::code_of(fp64[i]) ==
              oracle::code_of(hd::promoted_partial_element(rows.data(), columns, c, ids.data(), wide.data(), 4)));
    }
  }
}

TEST_CASE("special values: NaN canonical, empty sums +0, infinities") {
  float const rows[] = {__builtin_nanf("7"), HUGE_VALF, -HUGE_VALF, -0.0f, 1.0f};
  float const ones[] = {1.0f, 1.0f, 1.0f};
  auto const sum = [&](std::vector<std::int64_t> const& ids, auto element) {
    return oracle::code_of(element(rows, 1, 0, ids.data(), ones, static_cast<std::int64_t>(ids.size())));
  };
  auto const partial = [](auto... arguments) { return hd::rank_partial_element<bf16_t>(arguments...); };
  auto const products = [](auto... arguments) { return hd::megablocks_element(arguments...); };
  auto const exact = [](auto... arguments) { return hd::exact_element<float>(arguments...); };
  CHECK(sum({0}, partial) == 0x7fff);
  CHECK(sum({1, 2}, partial) == 0x7fff);
  CHECK(sum({1, 4}, partial) == 0x7f80);
  CHECK(sum({}, partial) == 0);
  CHECK(sum({-1, -1}, partial) == 0);
  CHECK(sum({3}, partial) == 0);
  for (auto const code : {sum({0}, products), sum({1, 2}, products), sum({0}, exact), sum({1, 2}, exact)})
    CHECK(code == 0x7fffffff);
  for (auto const code : {sum({}, products), sum({3}, products), sum({}, exact), sum({3}, exact), sum({-1}, exact)})
    CHECK(code == 0);
  CHECK(sum({2, 4}, products) == 0xff800000);
  CHECK(sum({2, 4}, exact) == 0xff800000);
  CHECK(hd::add_shared_expert(bf16_t{0x7fff}, bf16_t{0x3f80}).bits == 0x7fff);
  CHECK(hd::add_shared_expert(bf16_t{0x3f80}, bf16_t{0x3f80}).bits == 0x4000);
  double const no_partials[1] = {};
  CHECK(oracle::code_of(hd::join_promoted_element<f16_t>(no_partials, 1, 0, nullptr, 0)) == 0);
}

TEST_CASE("the fixed tree equals its definition for 1 to 17 terms and differs from a running sum") {
  Random random(21);
  int differs = 0;
  for (std::int64_t count = 1; count <= 17; ++count) {
    for (int round = 0; round < 20; ++round) {
      std::int64_t const columns = 3;
      std::int64_t const stride = 4;
      std::vector<float> terms(static_cast<std::size_t>(count * stride));
      for (float& value : terms) value = support::random_value<float>(random, 135, 16);
      std::vector<float> rows = terms;
      hd::tree_sum_in_place(rows.data(), stride, count, columns);
      for (std::int64_t c = 0; c < columns; ++c) {
        std::vector<float> column;
        float volatile running = 0.0f;
        for (std::int64_t i = 0; i < count; ++i) {
          column.push_back(terms[static_cast<std::size_t>(i * stride + c)]);
          running = running + column.back();
        }
        float const expected = oracle::tree_sum(column, 0, column.size());
        REQUIRE(oracle::code_of(rows[static_cast<std::size_t>(c)]) == oracle::code_of(expected));
        differs += oracle::code_of(expected) != oracle::code_of(float{running});
      }
      CHECK(oracle::code_of(rows[3]) == oracle::code_of(terms[3]));  // the gap between vectors is not touched
    }
  }
  CHECK(differs > 0);
}

TEST_CASE("8 leaves give equal bits when 1, 2, 4 or 8 ranks add their own subtree first") {
  Random random(8);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> leaves(8);
    for (float& value : leaves) value = support::random_value<float>(random, 135, 16);
    std::vector<float> whole = leaves;
    hd::tree_sum_in_place(whole.data(), 1, 8, 1);
    for (std::int64_t ranks : {std::int64_t{2}, std::int64_t{4}, std::int64_t{8}}) {
      std::vector<float> parts = leaves;
      std::int64_t const own = 8 / ranks;
      for (std::int64_t rank = 0; rank < ranks; ++rank) hd::tree_sum_in_place(parts.data() + rank * own, 1, own, 1);
      hd::tree_sum_in_place(parts.data(), own, ranks, 1);
      CHECK(oracle::code_of(parts[0]) == oracle::code_of(whole[0]));
    }
  }
}
