// SPDX-License-Identifier: Apache-2.0
/// cheapest_assignment: which row gets which column so that the sum of integer costs is smallest, exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace switchyard::placement {

/// A square matrix of costs, row-major.
struct CostMatrix {
  std::size_t size = 0;
  std::vector<std::int32_t> cost{};  // [size * size]
  [[nodiscard]] std::int32_t at(std::size_t row, std::size_t column) const { return cost[row * size + column]; }
};

/// @return the column of every row. Ties are resolved by the fixed order of the search: equal input, equal result.
/// @note O(size^3) in the worst case, O(size) memory beside the matrix. Shortest augmenting paths with potentials (the
///       Hungarian method as Jonker and Volgenant order it).
[[nodiscard]] std::vector<std::size_t> cheapest_assignment(CostMatrix const& costs);

}  // namespace switchyard::placement
