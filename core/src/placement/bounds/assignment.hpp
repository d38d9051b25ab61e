// SPDX-License-Identifier: Apache-2.0
/// heaviest_matching: which row gets which column so that the sum of integer weights is largest, exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace switchyard::placement {

/// What a row gains from one column.
struct WeightedColumn {
  std::size_t column = 0;
  std::int64_t weight = 0;  // above 0
};

/// The pairs with a weight above 0, row by row; every other pair weighs nothing and is not stored.
struct PairWeights {
  std::size_t num_columns = 0;
  std::vector<std::vector<WeightedColumn>> rows{};  // [rows] columns ascending
};

inline constexpr std::size_t kUnmatched = std::numeric_limits<std::size_t>::max();

/// @return the column of every row, kUnmatched for a row that gains from none; no column twice. Ties are resolved by
///         the fixed order of the search: equal input, equal result.
/// @note O(rows * pairs * log(pairs)) in the worst case, O(rows + columns + pairs) memory: shortest augmenting paths
///       over the stored pairs, with prices that keep every reduced cost non-negative.
[[nodiscard]] std::vector<std::size_t> heaviest_matching(PairWeights const& weights);

}  // namespace switchyard::placement
