// SPDX-License-Identifier: Apache-2.0
#include "rank_sum_at_source.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "by_dtype.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

/// Rows are sent in blocks by destination. Hidden shards repeat the blocks, so the first shard's say it all.
std::vector<std::int64_t> ends_of_ranks(DispatchPlan const& plan) {
  auto const& path = return_path(plan);
  auto const rows = output_rows(path.front());
  std::vector<std::int64_t> ends;
  for (auto const& stage : path) {
    auto const* exchange = std::get_if<RowExchange>(&stage);
    if (exchange == nullptr) continue;
    for (std::int64_t const count : exchange->send_rows) {
      std::int64_t const end = (ends.empty() ? 0 : ends.back()) + count;
      if (end > rows) break;
      ends.push_back(end);
    }
  }
  if (ends.empty() || ends.back() < rows) ends.push_back(rows);
  return ends;
}

/// One token, all types known.
template <typename T, typename Wire>
struct TokenSum {
  std::int64_t hidden;
  T const* rows;
  T* out;

  void operator()(std::vector<std::int64_t> const& counts, std::int64_t const* row_of_term,
                  float const* weights) const {
    std::vector<Wire> partials(counts.size() * to_size(hidden));
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      hd::combine_row<T, Wire>(rows, hidden, hidden, row_of_term, weights, counts[rank],
                               partials.data() + rank * to_size(hidden));
      row_of_term += counts[rank];
      weights += counts[rank];
    }
    std::vector<std::int64_t> order(counts.size());
    std::iota(order.begin(), order.end(), std::int64_t{0});
    hd::combine_row<Wire, T, hd::JoinPartials<float>>(partials.data(), hidden, hidden, order.data(), nullptr,
                                                      static_cast<std::int64_t>(order.size()), out);
  }
};

}  // namespace

RowGather ordered_by_rank(RowGather gather) {
  for (std::size_t token = 0; token + 1 < gather.row_begin.size(); ++token)
    std::sort(gather.rows_of_token.begin() + gather.row_begin[token],
              gather.rows_of_token.begin() + gather.row_begin[token + 1]);
  return gather;
}

SumByRanks::SumByRanks(DispatchPlan const& plan, CombineRecipe const& recipe, DType dtype, std::int64_t hidden)
    : ends_(ends_of_ranks(plan)),
      dtype_(dtype),
      wire_(dtype_after(recipe.partial, dtype, DType::f32).value_or(DType::f32)),
      hidden_(hidden) {}

void SumByRanks::add(std::span<std::int64_t const> terms, std::byte const* rows, std::int64_t const* row_of_term,
                     float const* weights, std::byte* out) const {
  std::vector<std::int64_t> counts;  // terms of every rank that has some
  std::size_t rank = 0;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    bool const next_rank = terms[i] >= ends_[rank];
    while (terms[i] >= ends_[rank]) ++rank;
    if (i == 0 || next_rank) counts.push_back(0);
    ++counts.back();
  }
  by_dtype(dtype_, [&](auto row) {
    using T = decltype(row);
    by_dtype(wire_, [&](auto wire) {
      TokenSum<T, decltype(wire)> const sum{hidden_, reinterpret_cast<T const*>(rows), reinterpret_cast<T*>(out)};
      sum(counts, row_of_term, weights);
    });
  });
}

}  // namespace switchyard::cpu
