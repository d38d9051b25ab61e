// SPDX-License-Identifier: Apache-2.0
/// RowGrouping: from (tokens, top-k ids) to rows grouped by local expert, in the standard or the batched format, and
/// back. Integers only; moving the rows is a gather by these maps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/experts/experts.hpp"

namespace switchyard {

/// Where every (token, slot) of a rank's input goes. A pair is named by its flat index token * top_k + slot.
struct RowGrouping {
  RowFormat format = RowFormat::standard;
  std::int64_t num_tokens = 0;
  int top_k = 0;
  std::vector<std::int64_t> rows_per_expert;  ///< [local experts]
  std::vector<std::int64_t> flat_of_row;      ///< [rows] the pair in each row; -1 = a batched row behind the count
  std::vector<std::int64_t> row_of_flat;      ///< [tokens * top_k] the pair's row; -1 = not for a local expert
  std::int64_t max_rows = 0;                  ///< batched: rows per expert

  [[nodiscard]] std::int64_t num_rows() const noexcept { return static_cast<std::int64_t>(flat_of_row.size()); }
  [[nodiscard]] std::vector<RowBlock> blocks() const;
  /// [rows] the token whose activation a row holds; -1 as in flat_of_row.
  [[nodiscard]] std::vector<std::int64_t> token_of_row() const;
  friend bool operator==(RowGrouping const&, RowGrouping const&) = default;
};

/// Groups pairs by local expert, stable: (local expert, token, slot) ascending.
/// @param ids        [tokens, top_k] global expert or slot ids; -1 = dropped
/// @param expert_map [global experts] local index or -1; empty = ids are local indices
/// @throws Error{invalid_argument} naming token and slot for an id or a local index out of range,
/// Error{shape_mismatch} when ids is not a multiple of top_k
/// @note as vLLM's permute with expert_map: -1 keeps a pair out, its output counts as zeros
[[nodiscard]] RowGrouping group_rows(std::span<std::int64_t const> ids, int top_k,
                                     std::span<std::int32_t const> expert_map, int num_local_experts);
/// The same rows as [local experts, max_rows]. @throws Error{invalid_argument} naming the expert that has more
[[nodiscard]] RowGrouping to_batched(RowGrouping const& standard, std::int64_t max_rows);
/// Closes the gaps. The inverse of to_batched.
[[nodiscard]] RowGrouping to_standard(RowGrouping const& batched);

}  // namespace switchyard
