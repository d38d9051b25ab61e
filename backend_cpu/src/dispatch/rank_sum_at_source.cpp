// SPDX-License-Identifier: Apache-2.0
#include "rank_sum_at_source.hpp"

#include <numeric>
#include <span>
#include <vector>

#include "by_dtype.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

/// One token, all types known.
template <typename T, typename Wire>
struct TokenSum {
  std::int64_t hidden;
  T const* rows;
  T* out;

  /// @param begin [ranks + 1] of every rank's terms
  void operator()(std::span<std::int64_t const> begin, std::int64_t const* row_of_term, float const* weights) const {
    std::size_t const ranks = begin.size() - 1;
    std::vector<Wire> partials(ranks * to_size(hidden));
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      std::int64_t const first = begin[rank] - begin.front();
      hd::combine_row<T, Wire>(rows, hidden, hidden, row_of_term + first, weights + first,
                               begin[rank + 1] - begin[rank], partials.data() + rank * to_size(hidden));
    }
    std::vector<std::int64_t> order(ranks);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    hd::combine_row<Wire, T, hd::JoinPartials<float>>(partials.data(), hidden, hidden, order.data(), nullptr,
                                                      static_cast<std::int64_t>(order.size()), out);
  }
};

}  // namespace

SumByRanks::SumByRanks(DispatchPlan const& plan, CombineRecipe const& recipe, DType dtype, std::int64_t hidden)
    : sums_(internal::rank_sums(plan)),
      dtype_(dtype),
      wire_(dtype_after(recipe.partial, dtype, DType::f32).value_or(DType::f32)),
      hidden_(hidden) {}

void SumByRanks::add(std::int64_t token, std::byte const* rows, std::int64_t const* row_of_term, float const* weights,
                     std::byte* out) const {
  std::int64_t const first = sums_.partial_begin[to_size(token)];
  auto const begin =
      std::span(sums_.row_begin).subspan(to_size(first), to_size(sums_.partial_begin[to_size(token) + 1] - first) + 1);
  by_dtype(dtype_, [&](auto row) {
    using T = decltype(row);
    by_dtype(wire_, [&](auto wire) {
      TokenSum<T, decltype(wire)> const sum{hidden_, reinterpret_cast<T const*>(rows), reinterpret_cast<T*>(out)};
      sum(begin, row_of_term, weights);
    });
  });
}

}  // namespace switchyard::cpu
