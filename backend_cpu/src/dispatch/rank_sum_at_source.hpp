// SPDX-License-Identifier: Apache-2.0
/// SumByRanks: rank_partial over single rows at the source. Which rank holds a row's expert follows from the exchange
/// that brings the row there, so the source can form every rank's partial itself, round it as if for the wire, and add
/// the partials: the bits of a family whose ranks send partials.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::cpu {

/// `gather` with every token's rows ascending: they lie by physical slot, that is by rank, then local expert, then
/// slot.
[[nodiscard]] RowGather ordered_by_rank(RowGather gather);

class SumByRanks {
 public:
  /// @param dtype of rows and results; @param recipe a rank_partial
  SumByRanks(DispatchPlan const& plan, CombineRecipe const& recipe, DType dtype, std::int64_t hidden);

  /// Writes a token's sum. @param terms its source rows, ascending. @param rows [*, H]; term i is row row_of_term[i]
  /// @param weights parallel to terms. @param out [H]
  void add(std::span<std::int64_t const> terms, std::byte const* rows, std::int64_t const* row_of_term,
           float const* weights, std::byte* out) const;

 private:
  std::vector<std::int64_t> ends_;  ///< past the last source row of every rank that holds experts, ascending
  DType dtype_;
  DType wire_;
  std::int64_t hidden_;
};

}  // namespace switchyard::cpu
