// SPDX-License-Identifier: Apache-2.0
/// The stages a dispatch is made of. Each is a value with one forward meaning (dispatch) and one inverse (combine).
///
/// A plan composes them; an executor implements each once per direction. All counts are rows, 64-bit.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

namespace switchyard {

/// Copies one source row per output row. Inverse: the weighted sum over the rows of every token.
///
/// `token_of_row` and `slot_of_row` say it row by row; `row_begin` and `rows_of_token` say it token by token, in slot
/// order, which is the order the combine adds in. Fillers of a padded routing are ordinary rows of weight 0.
struct RowGather {
  std::vector<std::int64_t> token_of_row;   ///< [rows]
  std::vector<std::int64_t> slot_of_row;    ///< [rows] k of a top-k routing, the expert of a dense one
  std::vector<std::int64_t> row_begin;      ///< [tokens + 1] offsets into rows_of_token
  std::vector<std::int64_t> rows_of_token;  ///< [rows] row ids, tokens ascending, then slots ascending
  friend bool operator==(RowGather const&, RowGather const&) = default;
};

/// Sends contiguous blocks of rows, destination ranks ascending; receives blocks, source ranks ascending. Inverse: the
/// same with both lists swapped.
struct RowExchange {
  std::vector<std::int64_t> send_rows;     ///< [world] 0 outside this rank's lane
  std::vector<std::int64_t> receive_rows;  ///< [world]
  friend bool operator==(RowExchange const&, RowExchange const&) = default;
};

/// Every rank of the TP group gets the rows of all of them, TP ranks ascending. Inverse: every rank gets back its own
/// rows from all TP ranks and adds them in fp32 over a fixed binary tree.
struct TpGather {
  std::int64_t own_rows = 0;               ///< rows this rank contributes
  std::vector<std::int64_t> receive_rows;  ///< [world] 0 outside this rank's TP group; own_rows for itself
  friend bool operator==(TpGather const&, TpGather const&) = default;
};

/// Cuts the rows into consecutive chunks and concatenates chunk order[0], order[1], ... Inverse: undoes that; its sizes
/// are the permuted sizes and its order is the inverse permutation, see inverse_of() and restoring_sort().
struct ChunkSort {
  std::vector<std::int64_t> sizes;  ///< rows of every chunk as they arrive
  std::vector<std::int64_t> order;  ///< a permutation of the chunks
  friend bool operator==(ChunkSort const&, ChunkSort const&) = default;
};

using DispatchStage = std::variant<RowGather, RowExchange, TpGather, ChunkSort>;

/// @return the sort that undoes `sort`. @throws Error{invalid_plan} when `order` is no permutation of the chunks.
[[nodiscard]] ChunkSort inverse_of(ChunkSort const& sort);
/// @return the exchange that sends everything back.
[[nodiscard]] RowExchange inverse_of(RowExchange const& exchange);

/// @return rows before and after `stage` in dispatch direction. For a RowGather "before" is the token count.
[[nodiscard]] std::int64_t input_rows(DispatchStage const& stage);
[[nodiscard]] std::int64_t output_rows(DispatchStage const& stage);

}  // namespace switchyard
