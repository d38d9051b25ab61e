// SPDX-License-Identifier: Apache-2.0
/// SumByRanks: rank_partial over single rows at the source. The source forms every rank's partial itself, rounds it as
/// if for the wire, and adds the partials: the bits of a family whose ranks send partials.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/internal/combine_paths.hpp"

namespace switchyard::cpu {

class SumByRanks {
 public:
  /// @param recipe a rank_partial. @param dtype of rows and results
  SumByRanks(DispatchPlan const& plan, CombineRecipe const& recipe, DType dtype, std::int64_t hidden);

  /// The plan's source gather, with every token's rows by rank.
  [[nodiscard]] RowGather const& rows() const { return sums_.rows; }
  /// Writes a token's sum. @param rows [*, H]; term i of the token is row row_of_term[i]. @param weights of its terms
  /// @param out [H]
  void add(std::int64_t token, std::byte const* rows, std::int64_t const* row_of_term, float const* weights,
           std::byte* out) const;

 private:
  internal::RankSums sums_;
  DType dtype_;
  DType wire_;
  std::int64_t hidden_;
};

}  // namespace switchyard::cpu
