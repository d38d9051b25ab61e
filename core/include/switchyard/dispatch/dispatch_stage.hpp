// SPDX-License-Identifier: Apache-2.0
/// The stages a dispatch is made of. Each is a value with one forward meaning (dispatch) and one inverse (combine).
///
/// A plan composes them; an executor implements each once per direction. All counts are rows, 64-bit.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

namespace switchyard {

/// Copies one input row per output row. Inverse: sums over the rows of every input, in list order.
///
/// `token_of_row` and `slot_of_row` say it row by row; `row_begin` and `rows_of_token` say it input by input. Three
/// uses:
/// - at the source, one row per (token, slot): lists go by slot, the order in which source_slot_order adds. Fillers of
/// a
///   padded routing are ordinary rows of weight 0.
/// - at the source, one row per (destination, token) (Flex): no slots; lists go by destination rank.
/// - at the receiver, expansion, sort or binning of rows that arrived: lists go by output row, which is local expert
///   ascending and then slot. An expansion names the weight column of every row, a sort or binning has no slots.
struct RowGather {
  std::vector<std::int64_t> token_of_row;   ///< [rows] input row; -1 = an empty bin, a row of zeros
  std::vector<std::int64_t> slot_of_row;    ///< [rows] weight column: k of a top-k routing, the expert of a dense one,
                                            ///< -1 in an empty bin; or [0] where no weight belongs to a row
  std::vector<std::int64_t> row_begin;      ///< [inputs + 1] offsets into rows_of_token
  std::vector<std::int64_t> rows_of_token;  ///< [rows that are not empty] row ids, inputs ascending, then as above
  friend bool operator==(RowGather const&, RowGather const&) = default;
};

/// Sends contiguous blocks of rows, destination ranks ascending; receives blocks, source ranks ascending. Inverse: the
/// same with both lists swapped.
struct RowExchange {
  std::vector<std::int64_t> send_rows;     ///< [world] 0 outside this rank's lane, where the family has lanes
  std::vector<std::int64_t> receive_rows;  ///< [world]
  friend bool operator==(RowExchange const&, RowExchange const&) = default;
};

/// Whose rows a GroupGather collects.
enum class GatherGroup : std::uint8_t {
  tp,     ///< the ranks that hold shards of the same experts
  world,  ///< all ranks
};

/// Every rank of the group gets the rows of all of them, ranks ascending. Inverse: every rank gets back its own rows
/// from all ranks of the group and adds them (TP: in fp32 over a fixed binary tree; world: as the recipe says).
struct GroupGather {
  std::int64_t own_rows = 0;               ///< rows this rank contributes
  std::vector<std::int64_t> receive_rows;  ///< [world] 0 outside this rank's group; own_rows for itself
  GatherGroup group = GatherGroup::tp;
  friend bool operator==(GroupGather const&, GroupGather const&) = default;
};

/// Hands the same rows to every hidden shard of an expert: all rows, `copies` times. Inverse: the shards' partial
/// results of a row are added in fp32 over a fixed binary tree, shards ascending, and rounded once.
struct ShardRepeat {
  std::int64_t rows = 0;
  std::int64_t copies = 1;
  friend bool operator==(ShardRepeat const&, ShardRepeat const&) = default;
};

/// Cuts the rows into consecutive chunks and concatenates chunk order[0], order[1], ... Inverse: undoes that; its sizes
/// are the permuted sizes and its order is the inverse permutation, see inverse_of() and restoring_sort().
struct ChunkSort {
  std::vector<std::int64_t> sizes;  ///< rows of every chunk as they arrive
  std::vector<std::int64_t> order;  ///< a permutation of the chunks
  friend bool operator==(ChunkSort const&, ChunkSort const&) = default;
};

using DispatchStage = std::variant<RowGather, RowExchange, GroupGather, ChunkSort, ShardRepeat>;

/// @return the sort that undoes `sort`. @throws Error{invalid_plan} when `order` is no permutation of the chunks.
[[nodiscard]] ChunkSort inverse_of(ChunkSort const& sort);
/// @return the exchange that sends everything back.
[[nodiscard]] RowExchange inverse_of(RowExchange const& exchange);
/// @return for every input row of a sort or binning its output row, -1 for an input that no bin holds.
/// @throws Error{invalid_plan} when an input row has several output rows or a list leaves its range: that gather adds.
[[nodiscard]] std::vector<std::int64_t> inverse_rows(RowGather const& gather);

/// @return rows before and after `stage` in dispatch direction. For a source RowGather "before" is the token count.
[[nodiscard]] std::int64_t input_rows(DispatchStage const& stage);
[[nodiscard]] std::int64_t output_rows(DispatchStage const& stage);

}  // namespace switchyard
