// SPDX-License-Identifier: Apache-2.0
/// The combine recipes in plain loops over a token's terms, written from the text of the contract.
///
/// Every rounding goes through volatile storage (fp32 and fp64) or through the search in big_integer.hpp (fp16, bf16).
/// A term knows where its expert lives, so each recipe sorts for itself; nothing is precomputed as in a plan.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "oracle/big_integer.hpp"

namespace oracle {

/// One expert's contribution to one output element.
struct RecipeTerm {
  float row = 0;
  double weight = 0;
  int slot = 0;
  int expert = 0;
  int rank = 0;
  int local_expert = 0;
};
using RecipeTerms = std::vector<RecipeTerm>;

/// The value of a code, exactly.
inline double double_of(FloatFormat const& format, std::uint64_t code) {
  std::uint64_t const magnitude = code & (format.sign() - 1);
  double const sign = (code & format.sign()) != 0 ? -1.0 : 1.0;
  if (magnitude > format.infinity()) return std::nan("");
  if (magnitude == format.infinity()) return sign * HUGE_VAL;
  auto const field = static_cast<int>(magnitude >> format.fraction_bits);
  auto const fraction = static_cast<double>(magnitude & ((std::uint64_t{1} << format.fraction_bits) - 1));
  double const hidden = field == 0 ? 0.0 : std::ldexp(1.0, format.fraction_bits);
  return sign * std::ldexp(fraction + hidden, std::max(field, 1) - format.bias() - format.fraction_bits);
}

/// The code of `format` nearest to a double; zeros keep their sign.
inline std::uint64_t code_nearest_to(FloatFormat const& format, double value) {
  if (value == 0.0) return std::signbit(value) ? format.sign() : 0;
  ExactSumOracle sum(kFormatF64, kFormatF64);
  sum.add_product(code_of(value), code_of(1.0));
  return sum.round(format);
}

inline float rounded_to(FloatFormat const& format, float value) {
  return static_cast<float>(double_of(format, code_nearest_to(format, static_cast<double>(value))));
}

/// Sums terms as they come: each product rounded to fp32 and then to `product`, added in fp32.
inline float sum_in_fp32(RecipeTerms const& terms, FloatFormat const& product = kFormatF32) {
  float volatile acc = 0.0f;
  for (RecipeTerm const& term : terms) {
    float const weight = static_cast<float>(term.weight);
    float volatile scaled = weight * term.row;
    if (product.fraction_bits != kFormatF32.fraction_bits) scaled = rounded_to(product, scaled);
    acc = acc + scaled;
  }
  return acc;
}

inline double sum_in_fp64(RecipeTerms const& terms) {
  double volatile acc = 0.0;
  for (RecipeTerm const& term : terms) {
    double const volatile scaled = term.weight * static_cast<double>(term.row);
    acc = acc + scaled;
  }
  return acc;
}

inline RecipeTerms by_slot(RecipeTerms terms) {
  std::sort(terms.begin(), terms.end(), [](auto const& a, auto const& b) { return a.slot < b.slot; });
  return terms;
}
inline RecipeTerms by_expert(RecipeTerms terms) {
  terms = by_slot(std::move(terms));
  std::stable_sort(terms.begin(), terms.end(), [](auto const& a, auto const& b) { return a.expert < b.expert; });
  return terms;
}
/// The terms of each rank, local expert ascending, equal ones by slot.
inline std::map<int, RecipeTerms> by_rank(RecipeTerms terms) {
  terms = by_slot(std::move(terms));
  std::map<int, RecipeTerms> ranks;
  for (RecipeTerm const& term : terms) ranks[term.rank].push_back(term);
  for (auto& [rank, own] : ranks)
    std::stable_sort(own.begin(), own.end(),
                     [](auto const& a, auto const& b) { return a.local_expert < b.local_expert; });
  return ranks;
}

inline std::uint64_t source_slot_order(RecipeTerms const& terms, FloatFormat const& row) {
  return code_nearest_to(row, static_cast<double>(sum_in_fp32(by_slot(terms))));
}
inline std::uint64_t source_expert_order(RecipeTerms const& terms, FloatFormat const& row) {
  return code_nearest_to(row, static_cast<double>(sum_in_fp32(by_expert(terms))));
}
inline std::uint64_t megablocks(RecipeTerms const& terms, FloatFormat const& row) {
  return code_nearest_to(row, static_cast<double>(sum_in_fp32(by_slot(terms), row)));
}
inline std::uint64_t rank_partial(RecipeTerms const& terms, FloatFormat const& row, FloatFormat const& wire) {
  float volatile acc = 0.0f;
  for (auto const& [rank, own] : by_rank(terms)) acc = acc + rounded_to(wire, sum_in_fp32(own));
  return code_nearest_to(row, static_cast<double>(acc));
}
inline std::uint64_t megatron_allgather_fp64(RecipeTerms const& terms, FloatFormat const& row) {
  double volatile acc = 0.0;
  for (auto const& [rank, own] : by_rank(terms)) acc = acc + sum_in_fp64(own);
  return code_nearest_to(row, acc);
}
inline std::uint64_t exact(RecipeTerms const& terms, FloatFormat const& row) {
  ExactSumOracle sum(kFormatF32, kFormatF32);
  for (RecipeTerm const& term : terms) sum.add_product(code_of(static_cast<float>(term.weight)), code_of(term.row));
  return sum.round(row);
}

/// A fixed binary tree, by its definition as a split: the left part is the largest power of two below the count.
inline float tree_sum(std::vector<float> const& terms, std::size_t begin, std::size_t count) {
  if (count == 1) return terms[begin];
  std::size_t left = 1;
  while (2 * left < count) left *= 2;
  float const volatile sum = tree_sum(terms, begin, left) + tree_sum(terms, begin + left, count - left);
  return sum;
}

}  // namespace oracle
